"""MaskSet: dense masks, labels, pictures, parts of COCO records, resizing."""

import numpy as np
import pytest
from pycocotools import mask as coco

from tests.reference import masks as ref


@pytest.fixture
def masks():
    y, x = np.mgrid[:40, :60]
    disc = [
        (y - cy) ** 2 + (x - cx) ** 2 < r * r
        for cy, cx, r in ((20, 30, 19), (10, 20, 6), (12, 22, 6), (35, 55, 9))
    ]
    return np.array([*disc, np.zeros((40, 60), bool), np.ones((40, 60), bool)])


def test_dense_shares_one_memory(kernels, masks):
    made = kernels.mask_set(masks)
    first, second = made.dense(), made.dense()
    assert first.dtype == bool and np.array_equal(first, masks)
    assert np.shares_memory(first, second)
    del made, second
    assert np.array_equal(first, masks)


def test_label_map(kernels, masks):
    labels = kernels.mask_set(masks).label_map()
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, ref.label_map(masks))


def test_dense_names_its_limit(kernels):
    made = kernels.mask_set(np.ones((3, 4, 4), bool)).resized(60_000, 60_000)
    with pytest.raises(MemoryError, match=r"3 masks of 60000 x 60000.*11 GB.*limit"):
        made.dense()


def test_overlay(kernels, masks):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    made = kernels.mask_set(masks[:4])
    out = made.overlay(rgb, alpha=0.5)
    nothing = ~masks[:4].any(0)
    assert np.array_equal(out[nothing], rgb[nothing])
    labels = ref.label_map(masks[:4])
    inner = [(labels == i + 1) & (made.overlay(rgb, alpha=0.0) == rgb).all(-1) for i in range(4)]
    colours = {
        tuple(made.overlay(np.zeros_like(rgb), alpha=1.0)[area][0]) for area in inner if area.any()
    }
    assert len(colours) == sum(area.any() for area in inner)  # The colours are distinct.
    edge = (labels > 0) & (np.pad(labels, 1, mode="edge")[1:-1, 2:] != labels)
    assert np.array_equal(out[edge], made.overlay(rgb, alpha=1.0)[edge])  # Outlines are opaque.
    with pytest.raises(ValueError, match="alpha"):
        made.overlay(rgb, alpha=1.5)
    with pytest.raises(ValueError, match="another size"):
        made.overlay(rgb[:-1], alpha=0.5)


def test_coco_pieces(kernels, masks):
    made = kernels.mask_set(masks)
    for i, mask in enumerate(masks):
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert made.rles()[i] == theirs
        assert made.counts(i) == ref.counts(mask)
        assert made.areas[i] == coco.area(theirs)
        assert np.array_equal(made.coco_bboxes[i], coco.toBbox(theirs))
        assert np.array_equal(made.boxes[i], ref.inclusive_box(mask))


def test_select_and_resize(kernels, masks):
    made = kernels.mask_set(masks)
    chosen = made.select([3, 0, 0])
    assert np.array_equal(chosen.dense(), masks[[3, 0, 0]]) and chosen.prompt.tolist() == [3, 0, 0]
    with pytest.raises((ValueError, IndexError)):
        made.select([6])
    for size in ((80, 120), (13, 17), (40, 61)):
        other = made.resized(*size)
        expected = np.array([ref.resize_nearest(m, size) for m in masks])
        assert np.array_equal(other.dense(), expected)
        assert other.areas.tolist() == expected.sum((1, 2)).tolist()
        assert np.array_equal(other.boxes, [ref.inclusive_box(m) for m in expected])


def test_row_23_no_masks(kernels):
    made = kernels.mask_set(np.zeros((0, 4, 5), bool))
    assert made.dense().shape == (0, 4, 5) and made.dense().dtype == bool
    assert made.boxes.shape == (0, 4) and made.boxes.dtype == np.float32
    assert made.areas.shape == (0,) and not made.label_map().any()
