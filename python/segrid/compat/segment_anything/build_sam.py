"""`sam_model_registry["vit_b"](checkpoint="sam_vit_b_01ec64.pth")`."""

from __future__ import annotations

import os

from segrid.compat.checkpoints import load
from segrid.compat.segment_anything.modeling import Sam
from segrid.compat.segment_anything.modeling.image_encoder import TinyViT


def build_sam(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
    """Builds a model from an original checkpoint (.pth, read as weights only), a model folder or a
    Hugging Face id. The weights determine its size. Like the original, it is on the CPU until `to`
    moves it.

    Without a checkpoint the model is empty until `load_state_dict`: every call that needs weights
    raises RuntimeError. (segment_anything's model has random weights in this case.)"""
    return Sam(None if checkpoint is None else load(checkpoint, "cpu"))


def build_sam_vit_t(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
    """Does the same as `build_sam` for MobileSAM. Without a checkpoint, its encoder is still a
    TinyViT."""
    sam = build_sam(checkpoint)
    if not sam.has_weights:
        sam.image_encoder = TinyViT(sam)
    return sam


build_sam_vit_h = build_sam_vit_l = build_sam_vit_b = build_sam
sam_model_registry = {name: build_sam for name in ("default", "vit_h", "vit_l", "vit_b")}
sam_model_registry["vit_t"] = build_sam_vit_t
