"""Everything mode gives the masks of segment_anything's SamAutomaticMaskGenerator on the packaged
model's weights, in the same order."""

import functools

import numpy as np
import pytest

BASE = dict(points_per_side=8, pred_iou_thresh=0.5, stability_score_thresh=0.75)
VARIANTS = {
    "plain": BASE,
    "no nms": dict(BASE, box_nms_thresh=1.0),
    "crops": dict(BASE, points_per_side=5, crop_n_layers=1),
    "two layers of crops": dict(
        BASE,
        points_per_side=4,
        crop_nms_thresh=0.6,
        crop_n_layers=2,
        crop_n_points_downscale_factor=2,
        crop_overlap_ratio=0.3,
    ),
    "own grid": dict(
        BASE, points_per_side=None, point_grids=[np.random.default_rng(1).uniform(0, 1, (40, 2))]
    ),
    "no thresholds": dict(points_per_side=6, pred_iou_thresh=0.0, stability_score_thresh=0.0),
    "offset": dict(BASE, stability_score_thresh=0.5, stability_score_offset=2.0),
    "small regions": dict(BASE, min_mask_region_area=40),
    "small regions in crops": dict(
        BASE, points_per_side=4, crop_n_layers=1, min_mask_region_area=40
    ),
}


@pytest.fixture(scope="session")
def records(trained):
    """records(variant): the original's, which are the same beside every device of ours."""
    from segment_anything import SamAutomaticMaskGenerator

    @functools.cache
    def generate(variant):
        generator = SamAutomaticMaskGenerator(trained.theirs, **VARIANTS[variant])
        return generator.generate(trained.image)

    return generate


@pytest.mark.parametrize("variant", VARIANTS)
def test_generator(trained_everywhere, records, variant):
    options, theirs = VARIANTS[variant], records(variant)
    ours = trained_everywhere.ours.everything(
        trained_everywhere.image, containment_thresh=1.0, crop_containment_thresh=1.0, **options
    )
    assert len(theirs) > 5, "vacuous"
    assert len(ours) == len(theirs)
    pixels = ours.array
    for i, record in enumerate(theirs):
        shared = (pixels[i] & record["segmentation"]).sum()
        union = (pixels[i] | record["segmentation"]).sum()
        assert shared >= 0.9999 * union - 2, f"mask {i}: IoU {shared / union}"
        assert abs(ours.scores[i] - record["predicted_iou"]) < 1e-4
        # Two pixels may differ.
        assert abs(ours.stability[i] - record["stability_score"]) <= 2 / record["area"]
        assert np.abs(ours.points[i] - record["point_coords"][0]).max() < 1e-9
        x, y, w, h = record["bbox"]
        assert np.abs(ours.boxes[i] - [x, y, x + w, y + h]).max() <= 1
        cx, cy, cw, ch = record["crop_box"]
        assert ours.crop_boxes[i].tolist() == [cx, cy, cx + cw, cy + ch]
        assert abs(int(ours.areas[i]) - record["area"]) <= 2
