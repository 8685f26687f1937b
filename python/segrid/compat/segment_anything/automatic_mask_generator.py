"""SamAutomaticMaskGenerator: a grid of points over an image and its crops."""

from __future__ import annotations

import numpy as np

from segrid.compat.mask_generator import MaskGenerator
from segrid.compat.segment_anything.build_sam import Sam
from segrid.compat.segment_anything.predictor import SamPredictor


class SamAutomaticMaskGenerator(MaskGenerator):
    """As segment_anything.SamAutomaticMaskGenerator; `points_per_batch` is taken and not needed."""

    def __init__(self, model: Sam, points_per_side: int | None = 32, points_per_batch: int = 64, pred_iou_thresh: float = 0.88,
                 stability_score_thresh: float = 0.95, stability_score_offset: float = 1.0, box_nms_thresh: float = 0.7, crop_n_layers: int = 0,
                 crop_nms_thresh: float = 0.7, crop_overlap_ratio: float = 512 / 1500, crop_n_points_downscale_factor: int = 1,
                 point_grids: list[np.ndarray] | None = None, min_mask_region_area: int = 0, output_mode: str = "binary_mask") -> None:
        self.predictor = SamPredictor(model)
        self._configure(
            points_per_batch, output_mode, points_per_side=points_per_side, point_grids=point_grids, pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh, stability_score_offset=stability_score_offset, box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers, crop_nms_thresh=crop_nms_thresh, crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor, min_mask_region_area=min_mask_region_area)
