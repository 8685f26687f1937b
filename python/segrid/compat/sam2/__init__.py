"""sam2's names for images on segrid's engine, with its arguments, results, orders and dtypes. The modules are named as there: `build_sam`,
`sam2_image_predictor`, `automatic_mask_generator`.

What differs: prompts outside the image are errors; only the CPU is there; small holes and specks are filled here, too (sam2 needs its CUDA extension for
that and otherwise warns and leaves them).
"""

from segrid.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from segrid.compat.sam2.build_sam import build_sam2, build_sam2_hf
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor

__all__ = ["SAM2AutomaticMaskGenerator", "SAM2ImagePredictor", "build_sam2", "build_sam2_hf"]
