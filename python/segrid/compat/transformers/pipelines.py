"""`pipeline`: segrid's for its tasks and models, and transformers' for all others."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from segrid._hub import PACKAGED, packaged_models
from segrid.compat.transformers.mask_generation import MaskGenerationPipeline
from segrid.compat.transformers.object_detection import ZeroShotObjectDetectionPipeline
from segrid.compat.transformers.originals import original
from segrid.detector import Detector
from segrid.segmenter import Segmenter

__all__ = ["MaskGenerationPipeline", "ZeroShotObjectDetectionPipeline", "pipeline"]

log = logging.getLogger("segrid.compat.transformers")


class Task(NamedTuple):
    """A task that segrid runs: its class, its model types, and transformers' default model."""

    pipeline: Any
    model_types: tuple[str, ...]
    default: str


TASKS = {
    "mask-generation": Task(
        MaskGenerationPipeline, ("sam", "sam2", "sam2_video", "mobile_sam"), "facebook/sam-vit-huge"
    ),
    "zero-shot-object-detection": Task(
        ZeroShotObjectDetectionPipeline, ("owlv2", "owlvit"), "google/owlvit-base-patch32"
    ),
}


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    video_processor: Any = None,
    processor: Any = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: Any = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = "auto",
    trust_remote_code: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    pipeline_class: Any = None,
    **kwargs: Any,
) -> Any:
    """As transformers.pipeline. segrid runs "mask-generation" (SAM, SAM 2, MobileSAM) and
    "zero-shot-object-detection" (OWLv2, OWL-ViT). Other tasks and models, a `config` and a
    `pipeline_class` go to transformers.pipeline with all arguments.

    task : if omitted, the model determines it
    model : a Hugging Face id, a folder, a packaged name, a `segrid.Segmenter` or `segrid.Detector`,
        or a transformers model (whose weights are copied; a detector needs its tokenizer or
        processor too); if omitted, transformers' default for the task
    device : "cpu", "cuda", a torch.device or the number of a GPU (the CPU if there is none)
    dtype (or torch_dtype, here or in model_kwargs) : "auto" and float32 run in fp32; bfloat16 and
        float16 run in these if the device has them, else in fp32
    tokenizer, image_processor, feature_extractor, processor : become attributes of the result
    batch_size, num_workers : have no effect, because the engine chooses its batch sizes itself
    token, use_fast, trust_remote_code : accepted without effect

    Arguments of the call may be given here as defaults. Raises RuntimeError without a task and a
    model, ImportError if transformers is needed and not installed, and the errors of
    `segrid.Segmenter`. Source: transformers.pipeline."""
    given = {name: value for name, value in locals().items() if name not in ("task", "kwargs")}
    if task is None and model is None:
        raise RuntimeError(
            "Impossible to instantiate a pipeline without either a task or a model "
            "being specified. Please provide a task class or a model"
        )
    if isinstance(model, Path):
        model = given["model"] = str(model)
    kind = _type_of(model, revision) if config is None and pipeline_class is None else None
    ours = _task_of(task, model, kind)
    if config is not None or pipeline_class is not None or ours is None:
        return _theirs(task, {**given, **kwargs}, kind)
    if model is None:
        model = TASKS[ours].default
        log.warning("No model was supplied, defaulted to %s.", model)
    elif isinstance(model, str) and revision is not None and not os.path.exists(model):
        model = f"{model}@{revision}"
    for older in (kwargs.pop("torch_dtype", None), *_dtypes_of(model_kwargs)):
        dtype = older if dtype in (None, "auto") and older is not None else dtype
    parts = {
        "tokenizer": tokenizer,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "video_processor": video_processor,
        "processor": processor,
    }
    return TASKS[ours].pipeline(
        model=model, device=_mapped(device, device_map), dtype=dtype, **parts, **kwargs
    )


def _mapped(device: Any, device_map: Any) -> Any:
    """Returns the device that either argument requests; a map can do so by naming one ("cpu",
    "cuda:0")."""
    planned = ("auto", "balanced", "balanced_low_0", "sequential")
    if device is not None or device_map is None or device_map in planned:
        return device
    return device_map.get("", None) if isinstance(device_map, dict) else device_map


def _dtypes_of(model_kwargs: dict[str, Any] | None) -> list[Any]:
    return [(model_kwargs or {}).get(name) for name in ("dtype", "torch_dtype")]


def _task_of(task: str | None, model: Any, kind: str | None) -> str | None:
    """Returns the name of the task if segrid runs it with this type of model, else None."""
    if task is None:
        return next((name for name, own in TASKS.items() if kind in own.model_types), None)
    if task not in TASKS or not (model is None or kind is None or kind in TASKS[task].model_types):
        return None
    return task


def _type_of(model: Any, revision: str | None) -> str | None:
    """Returns the model_type of config.json, or None if it cannot be determined."""
    if isinstance(model, (Segmenter, Detector)):
        return model.family
    if not isinstance(model, str):
        kind: str | None = getattr(getattr(model, "config", None), "model_type", None)
        return kind
    path = PACKAGED / model if model in packaged_models() else Path(model)
    if path.exists():
        folder = path.parent if path.suffix == ".safetensors" else path
        file: Path | None = folder / "config.json"
    else:
        file = _config_from_hub(model, revision)
    if file is None or not file.exists():
        return None
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    return kind


def _config_from_hub(model: str, revision: str | None) -> Path | None:
    """Returns None if the Hub cannot be asked or has no config; loading the model will report
    that."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    repo, _, own = model.partition("@")
    try:
        return Path(hf_hub_download(repo, "config.json", revision=own or revision))
    except (HfHubHTTPError, OSError, ValueError):
        return None


def _theirs(task: str | None, given: dict[str, Any], kind: str | None) -> Any:
    """Calls transformers.pipeline with the arguments that differ from its defaults."""
    if task in TASKS and kind is not None:
        log.warning("segrid has no models of type %s; transformers runs it.", kind)
    make: Callable[..., Any] = original("pipeline")
    defaults = inspect.signature(pipeline).parameters
    changed = {
        name: value
        for name, value in given.items()
        if name not in defaults or value is not defaults[name].default
    }
    return make(task, **changed)


def __getattr__(name: str) -> Any:
    """Returns names that do not exist here from transformers.pipelines."""
    return original(name, "transformers.pipelines")
