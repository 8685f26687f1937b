"""`build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny.pt")`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from segrid._native import _core
from segrid.compat.checkpoints import load
from segrid.compat.devices import named
from segrid.compat.missing_names import not_offered
from segrid.compat.sam2.config_files import image_size_in
from segrid.compat.sam2.modeling.sam2_base import SAM2Base
from segrid.compat.sam2.sam2_video_predictor import SAM2VideoPredictor, built
from segrid.compat.sam2.settings import settings_of

IMAGE_SIZE = re.compile(r"\+{0,2}model\.image_size=.*")
SIZES = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}
# The configuration of each id, and the name of its checkpoint in that repository.
HF_MODEL_ID_TO_FILENAMES = {
    f"facebook/{version}-hiera-{size}": (
        f"configs/{version}/{version}_hiera_{short}.yaml",
        f"{version}_hiera_{size.replace('-', '_')}.pt",
    )
    for version in ("sam2", "sam2.1")
    for size, short in SIZES.items()
}


def build_sam2(
    config_file: str | None,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Any = None,
    mode: str = "eval",
    hydra_overrides_extra: Iterable[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: Any,
) -> SAM2Base:
    """Builds a model from an original checkpoint (.pt, read as weights only), a model folder or a
    Hugging Face id. Without one, the model gets its weights by `load_state_dict`.

    config_file : the weights determine the sizes; of an existing file, image_size is read
    device : None is CUDA if there is a CUDA device, else the CPU
    hydra_overrides_extra : "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=",
        "..._stability_delta=", "..._stability_thresh=", "++model.iou_prediction_use_sigmoid=", and
        "++model.image_size=", which needs a model with the memory of video, as checkpoints have;
        those of memory and tracking are accepted and have no effect on images
    apply_postprocessing : single masks that are not stable are replaced by the best of three (as
        the model's config.json says; for a checkpoint, delta 0.05 and threshold 0.98)

    Raises NotImplementedError for a device that does not exist, for mode="train" and for other
    overrides; ValueError for values of another type."""
    if mode != "eval":
        raise NotImplementedError(
            f"build_sam2: only mode='eval', got {mode!r}; segrid does not train, use sam2 for that"
        )
    overrides, side = list(hydra_overrides_extra or ()), image_size_in(config_file)
    if side is not None or any(map(IMAGE_SIZE.fullmatch, overrides)):
        return built(
            ckpt_path,
            device,
            image_size=side,
            hydra_overrides_extra=overrides,
            apply_postprocessing=apply_postprocessing,
        )
    settings = settings_of(overrides, apply_postprocessing)
    where = "auto" if device is None else named(device)
    if ckpt_path is None:
        return SAM2Base(None, _core.resolve_device(where), settings)
    return SAM2Base(load(ckpt_path, where), settings=settings)


def build_sam2_hf(model_id: str, **kwargs: Any) -> SAM2Base:
    """Builds a model from a Hugging Face id such as "facebook/sam2.1-hiera-tiny"; see
    `build_sam2`."""
    return build_sam2(None, model_id, **kwargs)


def build_sam2_video_predictor(
    config_file: str | None,
    ckpt_path: str | os.PathLike[str] | None = None,
    device: Any = None,
    mode: str = "eval",
    hydra_overrides_extra: Iterable[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> SAM2VideoPredictor:
    """Builds a video predictor from an original checkpoint (.pt, read as weights only), a model
    folder or a Hugging Face id. Without one, it gets its weights by `load_state_dict`.

    config_file : the weights determine the sizes; of an existing file, image_size is read
    device : None is CUDA if there is a CUDA device, else the CPU
    hydra_overrides_extra : those of `build_sam2`, and "++model.NAME=" of the predictor's settings
        (see `SAM2VideoPredictor`) and of image_size
    apply_postprocessing : unstable single masks are replaced as in `build_sam2`, and holes of at
        most 8 low-resolution pixels are filled. Without it, sam2 remembers prompted frames as
        probabilities and no longer as 0 and 1; segrid remembers them as 0 and 1
    vos_optimized : returns a SAM2VideoPredictorVOS, which computes the same

    Raises as `build_sam2`; NotImplementedError also for a model without memory of video."""
    return built(
        ckpt_path,
        device,
        mode,
        image_size=image_size_in(config_file),
        hydra_overrides_extra=hydra_overrides_extra,
        apply_postprocessing=apply_postprocessing,
        vos_optimized=vos_optimized,
    )


def build_sam2_video_predictor_hf(model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
    """Builds a video predictor from a Hugging Face id such as "facebook/sam2.1-hiera-tiny"; see
    `build_sam2_video_predictor`."""
    return build_sam2_video_predictor(None, model_id, **kwargs)


__getattr__ = not_offered(
    __name__,
    "give ckpt_path to build_sam2 or build_sam2_video_predictor, or call model.load_state_dict",
    "_load_checkpoint",
)
