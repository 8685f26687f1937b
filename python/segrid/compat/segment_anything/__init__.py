"""segment_anything's public names on segrid's engine, with its arguments, results, orders and
dtypes. The modules are named as there: `build_sam`, `predictor`, `automatic_mask_generator`,
`modeling`, `utils.amg`, `utils.transforms`.

What differs: `prompt_encoder` returns what only `mask_decoder` can read; weights are copies, put
back by `load_state_dict`, and nothing trains; the generator's inner steps cannot be overridden; in
half precision it runs on CUDA only. Each raises NotImplementedError, but half precision on the CPU,
which stays float32.
"""

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
