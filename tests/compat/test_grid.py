"""`parallel_grid_segmentation` has the parameters, types, grid and cleaning of the grid tool."""

import inspect

import numpy as np
import pytest
import segrid
from PIL import Image
from scipy import ndimage
from segrid.compat.grid import parallel_grid_segmentation
from segrid.compat.sam2.build_sam import SAM2Base
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from segrid.compat.segment_anything import SamPredictor
from segrid.compat.segment_anything.build_sam import Sam

ORDER = [
    "sam_model",
    "filepath",
    "original_size",
    "target_points",
    "max_masks",
    "min_area_frac",
    "min_region_area",
    "nms_box_thresh",
    "dup_mask_iou_thresh",
    "max_workers",
    "batch_size",
]
DEFAULTS = [256, 50, 0.001, None, 0.7, 0.5, 4, 32]


def test_parameters_stand_in_the_tools_order():
    parameters = inspect.signature(segrid.parallel_grid_segmentation).parameters
    assert list(parameters) == ORDER
    assert [p.default for p in parameters.values()][3:] == DEFAULTS
    assert segrid.parallel_grid_segmentation is parallel_grid_segmentation


def test_three_lists(tiny, coins, tmp_path):
    Image.fromarray(coins).save(tmp_path / "coins.png")
    masks, boxes, areas = parallel_grid_segmentation(
        tiny, str(tmp_path / "coins.png"), (384, 303), 64, 8
    )
    assert (
        type(masks) is type(boxes) is type(areas) is list
        and 0 < len(masks) == len(boxes) == len(areas) <= 8
    )
    for mask, box, area in zip(masks, boxes, areas, strict=True):
        assert (
            mask.dtype == np.uint8 and mask.shape == (303, 384) and set(np.unique(mask)) == {0, 1}
        )
        y, x = np.nonzero(mask)
        assert type(box) is tuple and all(type(v) is float for v in box)
        assert box == (x.min(), y.min(), x.max(), y.max())
        assert type(area) is int and area == mask.sum() >= 0.001 * 303 * 384


def test_masks_are_views_of_one_memory(tiny, coins):
    masks, _, _ = parallel_grid_segmentation(tiny, coins, (384, 303), 64, 5)
    starts = [m.__array_interface__["data"][0] for m in masks]
    assert len(masks) > 1 and not any(m.flags.owndata for m in masks)
    assert np.diff(starts).tolist() == [303 * 384] * (len(masks) - 1)


def test_size_is_width_and_height(tiny, coins):
    masks, boxes, areas = parallel_grid_segmentation(tiny, coins, (192, 151), 64)
    assert masks[0].shape == (151, 192) and all(
        m.sum() == a for m, a in zip(masks, areas, strict=True)
    )
    assert max(b[2] for b in boxes) < 192


def test_points_go_from_the_first_pixel_to_the_last(tiny, coins, monkeypatch):
    """The masks of all points tell where the engine clicks."""
    asked = []
    everything = segrid.Segmenter.everything
    monkeypatch.setattr(
        segrid.Segmenter,
        "everything",
        lambda self, image, **options: asked.append(options) or everything(self, image, **options),
    )
    for points, side in ((256, 16), (4, 8), (100, 10), (30, 8)):
        parallel_grid_segmentation(tiny, coins, (384, 303), points, max_masks=1)
        grid = asked.pop()["point_grids"][0]
        assert grid.shape == (side * side, 2)
        pixels = grid * (384, 303)
        x, y = np.linspace(0, 383, side), np.linspace(0, 302, side)
        np.testing.assert_allclose(
            pixels, np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2), atol=1e-9
        )
    options = dict(
        pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0, multimask=False
    )
    found = everything(tiny, coins, point_grids=[grid], **options)
    corners = np.array([[0, 0], [383, 302], [383, 0], [0, 302]])
    assert all(np.abs(found.points - corner).max(axis=1).min() < 1e-6 for corner in corners)


@pytest.mark.parametrize("least", [None, 0, 400])
def test_small_parts_and_holes_are_gone(tiny, least, coins):
    """Parts are 4-connected, which is SciPy's default."""
    masks, _, _ = parallel_grid_segmentation(
        tiny, coins, (384, 303), 144, min_area_frac=0.002, min_region_area=least
    )
    wanted = max(16, int(0.002 * 384 * 303) // 4) if least is None else least
    sizes = []
    for mask in masks:
        for part in (mask, 1 - mask):
            labels, count = ndimage.label(part)
            sizes += ndimage.sum_labels(part, labels, range(1, count + 1)).tolist()
    assert masks and (min(sizes) >= wanted)


def test_regions_are_4_connected_on_request(coins):
    """A diagonal of single pixels is one part when parts are 8-connected, and many parts when they
    are 4-connected. fp32 and a high threshold give every CPU the same ragged masks."""
    tiny = segrid.Segmenter("tiny", precision="fp32")
    common = dict(
        points_per_side=16,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        mask_threshold=2.0,
        min_mask_region_area=60,
    )
    four = tiny.everything(coins, region_connectivity=4, **common)
    eight = tiny.everything(coins, **common)
    assert tiny.everything(coins, region_connectivity=8, **common) == eight != four

    def smallest(masks, structure):
        labelled = [ndimage.label(m, structure)[0] for m in masks.array if m.sum() >= 60]
        return min(np.bincount(labels.ravel())[1:].min() for labels in labelled)

    assert smallest(four, None) >= 60 and smallest(eight, np.ones((3, 3))) >= 60
    assert smallest(eight, None) < 60
    with pytest.raises(ValueError, match="region_connectivity: .*4 or 8.*6"):
        tiny.everything(coins, min_mask_region_area=60, region_connectivity=6)


def test_the_best_masks_stay(tiny, coins):
    def kept(n):
        return {m.tobytes() for m in parallel_grid_segmentation(tiny, coins, (384, 303), 100, n)[0]}

    assert len(kept(3)) == 3 and kept(3) < kept(6)


@pytest.mark.parametrize(
    "wrap",
    [Sam, lambda s: SamPredictor(Sam(s)), SAM2Base, lambda s: SAM2ImagePredictor(SAM2Base(s))],
)
def test_models_of_the_drop_ins(tiny, coins, wrap):
    ours = parallel_grid_segmentation(tiny, coins, (384, 303), 64, 4)
    theirs = parallel_grid_segmentation(wrap(tiny), coins, (384, 303), 64, 4)
    assert ours[1:] == theirs[1:] and np.array_equal(ours[0], theirs[0])


def test_lines_on_standard_error(tiny, coins, capfd):
    parallel_grid_segmentation(tiny, coins, target_points=64, batch_size=16)
    lines = capfd.readouterr().err.strip().split("\n")
    assert len(lines) == 4 and all(
        "kept" in line and " s, " in line and "MB" in line for line in lines
    )


def test_nothing_found(tiny):
    blank = np.full((40, 60, 3), 128, np.uint8)
    assert parallel_grid_segmentation(tiny, blank, (60, 40), min_area_frac=1.0) == ([], [], [])


def test_wrong_arguments(tiny, coins):
    for model in ("tiny", None, object()):
        with pytest.raises(TypeError, match="sam_model: expected a segrid.Segmenter"):
            parallel_grid_segmentation(model, coins)
    for name in ("max_workers", "batch_size", "max_masks", "target_points"):
        with pytest.raises(ValueError, match=name):
            parallel_grid_segmentation(tiny, coins, **{name: 0})
        with pytest.raises(ValueError, match=f"{name}: must be a whole number"):
            parallel_grid_segmentation(tiny, coins, **{name: 2.5})
    for name in ("min_area_frac", "nms_box_thresh", "dup_mask_iou_thresh"):
        for value in (-0.1, 1.5, float("nan"), "a"):
            with pytest.raises(ValueError, match=f"^{name}: must be a number from 0 to 1"):
                parallel_grid_segmentation(tiny, coins, **{name: value})
    with pytest.raises(ValueError, match="^min_region_area: "):
        parallel_grid_segmentation(tiny, coins, min_region_area=-1)
    for size in ((40, 30, 3), (40,), (40.5, 30), (0, 30), 40, "ab", (True, None)):
        with pytest.raises(ValueError, match=r"original_size: must be \(width, height\)"):
            parallel_grid_segmentation(tiny, coins, size)
    with pytest.raises(FileNotFoundError):
        parallel_grid_segmentation(tiny, "nowhere.png", (5, 5))
