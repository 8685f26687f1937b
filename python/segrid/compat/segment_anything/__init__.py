"""segment_anything's public names on segrid's engine, with its arguments, results, orders and dtypes.

What differs: prompts outside the image are errors; `set_torch_image` rounds to 8 bits; only the CPU is there.
"""

from segrid.compat.segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator
from segrid.compat.segment_anything.build_sam import build_sam, build_sam_vit_b, build_sam_vit_h, build_sam_vit_l, sam_model_registry
from segrid.compat.segment_anything.predictor import SamPredictor

__all__ = ["SamAutomaticMaskGenerator", "SamPredictor", "build_sam", "build_sam_vit_b", "build_sam_vit_h", "build_sam_vit_l", "sam_model_registry"]
