"""segrid.compat.amg against segment_anything.utils.amg, on random inputs."""

import inspect

import numpy as np
import pytest
import torch
from segrid.compat.segment_anything.utils import amg

from tests.models import torchvision_stand_in

SHAPES = [(1, 1), (1, 9), (7, 1), (23, 31), (64, 64)]


@pytest.fixture(scope="module")
def original():
    torchvision_stand_in.import_segment_anything()
    from segment_anything.utils import amg as theirs

    return theirs


@pytest.fixture(scope="module", params=[0, 1, 2])
def rng(request):
    return np.random.default_rng(request.param)


def equal(mine, theirs):
    """Equal bits, types and dtypes."""
    assert type(mine) is type(theirs)
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        for key in theirs:
            equal(mine[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            equal(a, b)
    elif isinstance(theirs, (np.ndarray, torch.Tensor)):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        a, b = np.asarray(mine), np.asarray(theirs)
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    else:
        assert mine == theirs


def blobs(rng, shape, n=5):
    """(n, H, W) bool with parts and holes of many sizes; one mask is empty and one is full."""
    masks = rng.random((n, *shape)) < rng.random((n, 1, 1))
    masks[0], masks[-1] = False, True
    return masks


def test_every_function_of_the_original_is_there(original):
    theirs = {
        name: thing
        for name, thing in vars(original).items()
        if getattr(thing, "__module__", "") == original.__name__
    }
    assert len(theirs) == 17
    for name, thing in theirs.items():
        mine = getattr(amg, name)
        assert list(inspect.signature(mine).parameters) == list(inspect.signature(thing).parameters)


@pytest.mark.parametrize("shape", SHAPES)
def test_runs_and_boxes(original, rng, shape):
    masks = torch.from_numpy(blobs(rng, shape))
    runs = original.mask_to_rle_pytorch(masks)
    equal(amg.mask_to_rle_pytorch(masks), runs)
    for run in runs:
        equal(amg.rle_to_mask(run), original.rle_to_mask(run))
        equal(amg.area_from_rle(run), original.area_from_rle(run))
        equal(amg.coco_encode_rle(run), original.coco_encode_rle(run))
    for group in (masks, masks[1], masks[None], masks[:0]):
        equal(amg.batched_mask_to_box(group), original.batched_mask_to_box(group))


@pytest.mark.parametrize("shape", SHAPES[3:])
@pytest.mark.parametrize("mode", ["holes", "islands"])
@pytest.mark.parametrize("area", [1, 4, 4.5, np.float32(20), 10**6])
def test_small_regions(original, rng, shape, mode, area):
    for mask in blobs(rng, shape):
        equal(
            amg.remove_small_regions(mask, area, mode),
            original.remove_small_regions(mask, area, mode),
        )


def test_stability(original, rng):
    logits = torch.from_numpy(rng.normal(0, 2, (3, 4, 20, 30)).astype(np.float32))
    logits[0] = -9  # The stability of this mask is 0 / 0.
    for threshold, offset in ((0.0, 1.0), (0.5, 0.2), (0.0, 0.0), (0.0, -1.0)):
        equal(
            amg.calculate_stability_score(logits, threshold, offset),
            original.calculate_stability_score(logits, threshold, offset),
        )


@pytest.mark.parametrize("size", [(480, 640), (33, 1001), (50, 50)])
def test_grids_and_crops(original, size):
    for layers, ratio in ((0, 0.3), (1, 512 / 1500), (2, 0.1), (3, 0.0)):
        equal(
            amg.generate_crop_boxes(size, layers, ratio),
            original.generate_crop_boxes(size, layers, ratio),
        )
    for side in (1, 2, 7, 32):
        equal(amg.build_point_grid(side), original.build_point_grid(side))
    equal(amg.build_all_layer_point_grids(12, 2, 2), original.build_all_layer_point_grids(12, 2, 2))


def test_crops_and_the_image(original, rng):
    crop, image = [40, 10, 100, 90], [0, 0, 150, 120]
    boxes = torch.from_numpy(rng.integers(0, 80, (40, 4)))
    for group in (boxes, boxes.float(), boxes.int()):
        equal(amg.uncrop_boxes_xyxy(group, crop), original.uncrop_boxes_xyxy(group, crop))
        for box in (crop, [0, 0, 100, 120], image):
            equal(
                amg.is_box_near_crop_edge(group, box, image),
                original.is_box_near_crop_edge(group, box, image),
            )
    equal(
        amg.uncrop_boxes_xyxy(boxes[:, None], crop),
        original.uncrop_boxes_xyxy(boxes[:, None], crop),
    )
    for points in (boxes[:, :2].double(), boxes[:, None, :2].float()):
        equal(amg.uncrop_points(points, crop), original.uncrop_points(points, crop))
    masks = torch.from_numpy(blobs(rng, (80, 60)))
    equal(amg.uncrop_masks(masks, crop, 120, 150), original.uncrop_masks(masks, crop, 120, 150))
    assert amg.uncrop_masks(masks, [0, 0, 60, 80], 80, 60) is masks
    for box in (boxes[0], boxes[0].numpy(), boxes[0].tolist()):
        equal(amg.box_xyxy_to_xywh(box), original.box_xyxy_to_xywh(box))


def test_batches(original):
    rows, others = np.arange(10), list("abcdefghij")
    for size in (1, 3, 10, 64):
        equal(
            [*amg.batch_iterator(size, rows, others)],
            [*original.batch_iterator(size, rows, others)],
        )
    with pytest.raises(AssertionError, match="same size"):
        [*amg.batch_iterator(2, rows, others[:3])]


@pytest.mark.parametrize("keep", [torch.tensor([True, False, True, False]), torch.tensor([3, 0])])
def test_mask_data(original, keep):
    def life(kind):
        data = kind(boxes=torch.arange(16).reshape(4, 4), names=list("abcd"), at=np.arange(4.0))
        data.filter(keep)
        data["scores"] = torch.rand(2, generator=torch.Generator().manual_seed(0))
        joined = kind()
        joined.cat(data)
        joined.cat(data)
        del joined["at"]
        states = [dict(joined.items())]
        joined.to_numpy()
        return [*states, dict(joined.items()), joined["names"]]

    equal(life(amg.MaskData), life(original.MaskData))
    for kind in (amg.MaskData, original.MaskData):
        with pytest.raises(AssertionError, match="only supports list, numpy arrays"):
            kind(a=1)
        with pytest.raises(AssertionError, match="only supports list, numpy arrays"):
            kind()["a"] = "text"
