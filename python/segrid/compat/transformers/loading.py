"""What `model`, `device` and `dtype` of transformers.pipeline become."""

from __future__ import annotations

import contextlib
import tempfile
from typing import Any

from segrid.compat.devices import named

_PRECISIONS = {"None": "fp32", "auto": "fp32", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@contextlib.contextmanager
def model_of(model: Any, device: Any, dtype: Any, *parts: Any) -> Any:
    """The arguments of `Segmenter` and `Detector`. A transformers model is written into a folder that is there as long as the context, with `parts` (its
    tokenizer, say) beside it. Raises ValueError for no model and for other dtypes."""
    if model is None:
        raise ValueError("pipeline: give a model: a Hugging Face id, a folder, a packaged name, or segrid's own object")
    precision = _PRECISIONS.get(str(dtype).removeprefix("torch."))
    if precision is None:
        raise ValueError(f"dtype: must be one of float32, bfloat16 and float16, got {dtype}")
    options = {"device": "auto" if device is None else "cpu" if device == -1 else named(device), "precision": precision}
    if not hasattr(model, "save_pretrained"):
        yield {"model": model, **options}
        return
    with tempfile.TemporaryDirectory(prefix="segrid-") as folder:
        for part in (model, *parts):
            part.save_pretrained(folder)
        yield {"model": folder, **options}
