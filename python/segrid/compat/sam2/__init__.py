"""sam2's names on segrid's engine, with its arguments, results, orders and dtypes. The modules have
the original's names: `build_sam`, `sam2_image_predictor`, `automatic_mask_generator`,
`sam2_video_predictor` (whose docstring says where it differs), `modeling.sam2_base`, `utils`.

There are four differences. Small holes and specks are always filled and removed (sam2 needs its
CUDA extension for that; without it, it warns and leaves them). Nothing trains. Parts of the model
(`image_encoder`, `sam_mask_decoder`) cannot be called alone. The names of `state_dict()` are
transformers'."""

from segrid.compat.sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from segrid.compat.sam2.build_sam import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from segrid.compat.sam2.sam2_video_predictor import SAM2VideoPredictor

__all__ = [
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "build_sam2",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
]
