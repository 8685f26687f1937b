"""SamAutomaticMaskGenerator: a grid of points over an image and its crops."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.mask_generator import MaskGenerator
from segrid.compat.segment_anything.modeling import Sam
from segrid.compat.segment_anything.predictor import SamPredictor


class SamAutomaticMaskGenerator(MaskGenerator):
    """As segment_anything.SamAutomaticMaskGenerator. `points_per_batch` is accepted and has no
    effect.

    The mask threshold is the model's (`model.mask_threshold`), as in segment_anything."""

    predictor_type = SamPredictor

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        self._configure(locals())
        self.predictor = SamPredictor(model)

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Segments an (H, W, 3) uint8 RGB image, which is flipped first if `model.image_format` is
        "BGR", as in segment_anything. Returns a list of records in the original's order:
        segmentation, area, bbox XYWH, predicted_iou, point_coords, stability_score, crop_box
        XYWH."""
        flipped = self.predictor.model.image_format != "RGB"
        return super().generate(image[..., ::-1] if flipped else image)

    def _asked(self) -> dict[str, Any]:
        return super()._asked() | {"mask_threshold": float(self.predictor.model.mask_threshold)}
