"""SAM2AutomaticMaskGenerator: a grid of points over an image and its crops."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.mask_generator import MaskGenerator
from segrid.compat.sam2.build_sam import build_sam2_hf
from segrid.compat.sam2.modeling.sam2_base import SAM2Base
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor


class SAM2AutomaticMaskGenerator(MaskGenerator):
    """As sam2.SAM2AutomaticMaskGenerator. `points_per_batch` is accepted and has no effect."""

    as_float32 = True
    predictor_type = SAM2ImagePredictor

    def __init__(
        self,
        model: SAM2Base,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: Any,
    ) -> None:
        self._configure(locals())
        self.predictor = SAM2ImagePredictor(
            model, max_hole_area=min_mask_region_area, max_sprinkle_area=min_mask_region_area
        )

    def _asked(self) -> dict[str, Any]:
        """As in sam2, `min_mask_region_area` goes to the predictor at construction; changing the
        attribute later has no effect."""
        asked = super()._asked() | self.predictor._areas()
        asked["multimask"] = asked.pop("multimask_output")
        del asked["min_mask_region_area"]
        return asked

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """Builds a generator from a Hugging Face id. The arguments are those of `build_sam2` and of
        the constructor; each receives its own."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)
