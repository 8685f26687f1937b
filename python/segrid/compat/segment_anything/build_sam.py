"""`sam_model_registry["vit_b"](checkpoint="sam_vit_b_01ec64.pth")`."""

from __future__ import annotations

import os

from segrid.compat.checkpoints import load
from segrid.compat.segment_anything.modeling import Sam
from segrid.compat.segment_anything.modeling.image_encoder import TinyViT


def build_sam(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
    """A model from an original checkpoint (.pth, read as weights only), a model folder or a Hugging
    Face id. Its size is told from the weights. On the CPU until `to`, like the original.

    Without a checkpoint it is empty until `load_state_dict`: every call that needs weights raises
    RuntimeError (segment_anything's has random ones)."""
    return Sam(None if checkpoint is None else load(checkpoint, "cpu"))


def build_sam_vit_t(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
    """`build_sam` of MobileSAM: without a checkpoint, its encoder is a TinyViT all the same."""
    sam = build_sam(checkpoint)
    if not sam.has_weights:
        sam.image_encoder = TinyViT(sam)
    return sam


build_sam_vit_h = build_sam_vit_l = build_sam_vit_b = build_sam
sam_model_registry = {name: build_sam for name in ("default", "vit_h", "vit_l", "vit_b")}
sam_model_registry["vit_t"] = build_sam_vit_t
