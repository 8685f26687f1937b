"""MobileSAM's public names (its package `mobile_sam`) on segrid's engine: segment_anything's names,
with `build_sam_vit_t` and the registry's "vit_t". The differences are those of
`segrid.compat.segment_anything`."""

from segrid.compat.mobile_sam.automatic_mask_generator import SamAutomaticMaskGenerator
from segrid.compat.mobile_sam.build_sam import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from segrid.compat.mobile_sam.predictor import SamPredictor

__all__ = [
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]
