"""`build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt")`."""

from __future__ import annotations

import os
from typing import Any

from segrid.compat.checkpoints import load
from segrid.compat.devices import named
from segrid.compat.modules import Model
from segrid.segmenter import Segmenter


class SAM2Base(Model):
    """What `build_sam2` returns: a loaded model with the few attributes that scripts touch (`to`, `eval`, `device`, `image_size`)."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter)
        self.image_size = segmenter.side


def build_sam2(config_file: str | None, ckpt_path: str | os.PathLike[str] | None = None, device: Any = None, mode: str = "eval",
               hydra_overrides_extra: list[str] | None = None, apply_postprocessing: bool = True, **kwargs: Any) -> SAM2Base:
    """A model from an original checkpoint (.pt, read as weights only), a model folder or a Hugging Face id.

    config_file : not needed, the sizes are told from the weights
    device : None is CUDA where there is one, else the CPU
    apply_postprocessing : must be True (single masks that are not stable give way to the best of three; in other models set it in config.json)

    Raises NotImplementedError for a device that is not there, for mode="train" and for Hydra overrides; ValueError without a checkpoint.
    """
    if mode != "eval" or hydra_overrides_extra or not apply_postprocessing:
        raise NotImplementedError("build_sam2: only mode='eval', no hydra_overrides_extra and apply_postprocessing=True; other settings belong into the "
                                  "config.json of a converted model (`segrid convert`)")
    if ckpt_path is None:
        raise ValueError("ckpt_path: needed; without one sam2 builds a model with random weights, which segrid does not")
    return SAM2Base(load(ckpt_path, "auto" if device is None else named(device)))


def build_sam2_hf(model_id: str, **kwargs: Any) -> SAM2Base:
    """The same from a Hugging Face id ("facebook/sam2.1-hiera-tiny")."""
    return build_sam2(None, model_id, **kwargs)
