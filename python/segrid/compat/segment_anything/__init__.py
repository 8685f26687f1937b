"""segment_anything's public names on segrid's engine, with its arguments, results, orders and
dtypes. The modules have the original's names: `build_sam`, `predictor`, `automatic_mask_generator`,
`modeling`, `utils.amg`, `utils.transforms`.

There are five differences. Only `mask_decoder` can read the result of `prompt_encoder`. Weights are
copies, which `load_state_dict` puts back. Nothing trains. The generator's inner steps cannot be
overridden. Half precision runs on CUDA only; on the CPU the model stays in float32. Except for the
last one, each raises NotImplementedError."""

from segrid.compat.segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator
from segrid.compat.segment_anything.build_sam import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    sam_model_registry,
)
from segrid.compat.segment_anything.predictor import SamPredictor

__all__ = [
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "sam_model_registry",
]
