"""segment_anything's `modeling`: the types of a model and of its parts."""

from segrid.compat.missing_names import not_offered
from segrid.compat.segment_anything.modeling.image_encoder import ImageEncoderViT
from segrid.compat.segment_anything.modeling.mask_decoder import MaskDecoder
from segrid.compat.segment_anything.modeling.prompt_encoder import PromptEncoder
from segrid.compat.segment_anything.modeling.sam import Sam

__all__ = ["ImageEncoderViT", "MaskDecoder", "PromptEncoder", "Sam"]

__getattr__ = not_offered(
    __name__,
    "segrid's engine has the layers; build such modules from segment_anything's own classes",
    "TwoWayTransformer",
)
