"""What `model`, `device` and `dtype` of transformers.pipeline become."""

from __future__ import annotations

import contextlib
import tempfile
from typing import Any

from segrid.compat.devices import named

_PRECISIONS = {
    "None": "fp32",
    "auto": "fp32",
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
}


def load(kind: Any, model: Any, device: Any, dtype: Any, *parts: Any) -> Any:
    """A Segmenter or Detector. A transformers model is written into a folder that is gone when it
    is loaded, with `parts` (its tokenizer, say) beside it.

    Raises ValueError for other dtypes, and what `kind` raises."""
    if isinstance(model, kind):
        return model
    precision = _PRECISIONS.get(str(dtype).removeprefix("torch."))
    if precision is None:
        raise ValueError(f"dtype: must be one of float32, bfloat16 and float16, got {dtype}")
    where = device_of(device)
    with _folder_of(model, parts) as source:
        try:
            loaded = kind(source, device=where, precision=precision)
        except NotImplementedError:
            if precision not in ("bf16", "fp16"):
                raise
            # torch computes in every type on every device; fp32 is at least as close to its result
            loaded = kind(source, device=where, precision="fp32")
        if hasattr(loaded, "read_tokenizer"):
            loaded.read_tokenizer()  # while they are there
        return loaded


def device_of(device: Any) -> str:
    """segrid's name of what transformers takes as a device: None is CUDA where there is one, -1 the
    CPU, and a number of a GPU the CPU where torch has none."""
    if device is None:
        return "auto"
    if isinstance(device, int):
        import torch

        return f"cuda:{device}" if device >= 0 and torch.cuda.is_available() else "cpu"
    return named(device)


@contextlib.contextmanager
def _folder_of(model: Any, parts: Any) -> Any:
    if not hasattr(model, "save_pretrained"):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="segrid-") as folder:
        for part in (model, *parts):
            part.save_pretrained(folder)
        yield folder
