"""transformers' pipelines: `from segrid.compat.transformers import pipeline`."""

from __future__ import annotations

from typing import Any

from segrid.compat.transformers.mask_generation import MaskGenerationPipeline
from segrid.compat.transformers.object_detection import ZeroShotObjectDetectionPipeline

__all__ = ["MaskGenerationPipeline", "ZeroShotObjectDetectionPipeline", "pipeline"]

_TASKS: dict[str, Any] = {"mask-generation": MaskGenerationPipeline, "zero-shot-object-detection": ZeroShotObjectDetectionPipeline}


def pipeline(task: str | None = None, model: Any = None, **kwargs: Any) -> Any:
    """As transformers.pipeline, for the tasks of segrid's models: "mask-generation" and "zero-shot-object-detection".

    model : a Hugging Face id, a folder, a packaged name, a `segrid.Segmenter` or `segrid.Detector`, or a transformers model (whose weights are copied; a
        detector's with tokenizer=)
    device, dtype (or torch_dtype) : "cpu"; float32 and bfloat16; left out: float32
    revision, trust_remote_code, processors and other arguments of loading : taken and not needed, revision through the id ("owner/name@revision")

    Arguments of the call may be given here as defaults. Raises KeyError for other tasks, and what `segrid.Segmenter` raises.
    Source: transformers.pipeline.
    """
    if task is None or task not in _TASKS:
        raise KeyError(f"Unknown task {task}, available tasks are {sorted(_TASKS)}")
    return _TASKS[task](model, **kwargs)
