"""Box NMS, and the removal of duplicate masks on runs."""

import numpy as np
import pytest

from tests.reference import masks as ref


def boxes_of(rng, n, span=60):
    corner = rng.integers(0, span, (n, 2))
    return np.concatenate([corner, corner + rng.integers(0, span, (n, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 2, 50, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 1.0])
def test_box_nms(kernels, n, threshold):
    rng = np.random.default_rng(n)
    boxes = boxes_of(rng, n)
    scores = rng.integers(0, 20, n).astype(np.float32) / 20  # Many scores are equal.
    assert kernels.box_nms(boxes, scores, threshold) == ref.box_nms(boxes, scores, threshold)


def test_box_nms_on_the_threshold(kernels):
    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 5], [20, 20, 20, 20], [20, 20, 20, 20]],
        np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
    # 0.7 in float32 is below 0.7. Boxes without area never overlap: their IoU is 0 / 0.
    assert kernels.box_nms(boxes, scores, 0.7) == ref.box_nms(boxes, scores, 0.7)
    assert kernels.box_nms(boxes, scores, 0.5) == [0, 2, 3, 4]


def test_box_nms_of_many(kernels):
    rng = np.random.default_rng(1)
    boxes, scores = boxes_of(rng, 3000, 1500), rng.random(3000).astype(np.float32)
    kept = kernels.box_nms(boxes, scores, 0.7)
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    assert sorted(kernels.box_nms(boxes, scores, 1.0)) == list(range(3000))


def blobs(seed, n=40, size=(50, 70)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = [
        (y - rng.integers(0, size[0])) ** 2 / rng.integers(4, 300)
        + (x - rng.integers(0, size[1])) ** 2 / rng.integers(4, 300)
        < 1
        for _ in range(n)
    ]
    masks[3] = np.zeros(size, bool)
    masks[7] = masks[8].copy()
    masks[9] = np.ones(size, bool)
    return np.array(masks)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_mask_nms(kernels, seed, threshold):
    masks = blobs(seed)
    order = np.random.default_rng(seed).permutation(len(masks)).tolist()
    assert kernels.mask_nms(masks, order, threshold) == ref.mask_nms(masks, order, threshold)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 0.99])
def test_containment(kernels, seed, threshold):
    masks = blobs(seed)
    order = np.random.default_rng(seed).permutation(len(masks)).tolist()
    assert kernels.containment(masks, order, threshold) == ref.containment(masks, order, threshold)


@pytest.mark.parametrize("within, across", [(0.7, 0.3), (1.0, 0.3), (0.3, 0.3)])
def test_containment_across_crops(kernels, within, across):
    for seed in range(4):
        masks, rng = blobs(seed), np.random.default_rng(seed)
        order, crops = rng.permutation(len(masks)).tolist(), rng.integers(0, 3, len(masks)).tolist()
        got = kernels.containment(masks, order, within, crops, across)
        assert got == ref.containment(masks, order, within, crops, across)


def test_only_across_crops(kernels):
    """Two halves that share a third of their pixels are one object if they come from different
    crops, and two objects if they come from one crop."""
    masks = np.zeros((2, 6, 12), bool)
    masks[0, :, :6] = masks[1, :, 4:10] = True
    for crops, kept in (([0, 1], [0]), ([1, 1], [0, 1])):
        assert (
            kernels.containment(masks, [0, 1], 0.7, crops, 0.3)
            == ref.containment(masks, [0, 1], 0.7, crops, 0.3)
            == kept
        )


def test_containment_of_one_is_off(kernels):
    masks = np.ones((3, 4, 4), bool)
    assert kernels.containment(masks, [2, 0, 1], 1.0) == [2, 0, 1]
