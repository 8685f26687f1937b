"""`sam_model_registry["vit_b"](checkpoint="sam_vit_b_01ec64.pth")`."""

from __future__ import annotations

import os
from types import SimpleNamespace

from segrid.compat.checkpoints import load
from segrid.compat.modules import Model
from segrid.segmenter import Segmenter


class Sam(Model):
    """What the registry's functions return: a loaded model with the few attributes that scripts touch (`to`, `eval`, `device`, `image_encoder.img_size`)."""

    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter)
        self.image_encoder = SimpleNamespace(img_size=segmenter.side)


def build_sam(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
    """A model from an original checkpoint (.pth, read as weights only), a model folder or a Hugging Face id. Its size is told from the weights. On the
    CPU until `to`, like the original."""
    if checkpoint is None:
        raise ValueError("checkpoint: needed; without one segment_anything builds a model with random weights, which segrid does not")
    return Sam(load(checkpoint, "cpu"))


build_sam_vit_h = build_sam_vit_l = build_sam_vit_b = build_sam
sam_model_registry = {"default": build_sam, "vit_h": build_sam, "vit_l": build_sam, "vit_b": build_sam, "vit_t": build_sam}
