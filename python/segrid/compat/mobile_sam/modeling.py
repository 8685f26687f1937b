"""The types of a model and of its parts, the same as segment_anything's."""

from segrid.compat.segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
)
from segrid.compat.segment_anything.modeling.image_encoder import TinyViT

__all__ = ["ImageEncoderViT", "MaskDecoder", "PromptEncoder", "Sam", "TinyViT"]
