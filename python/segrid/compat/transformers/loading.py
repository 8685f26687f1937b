"""Loads a model from the arguments `model`, `device` and `dtype` of transformers.pipeline."""

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
    """Loads a Segmenter or Detector. A transformers model is written into a temporary folder,
    together with `parts` (its tokenizer, for example), which is removed after loading.

    Raises ValueError for other dtypes, and the errors of `kind`."""
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
            # The device lacks this precision. torch computes in every type on every device; the
            # result of fp32 is at least as close to torch's.
            loaded = kind(source, device=where, precision="fp32")
        if hasattr(loaded, "read_tokenizer"):
            # The folder of the words exists only until the end of this block.
            loaded.read_tokenizer()
        return loaded


def device_of(device: Any) -> str:
    """Returns segrid's name of a device that transformers takes. None is CUDA if there is a CUDA
    device, -1 is the CPU, and the number of a GPU is the CPU if torch has no CUDA."""
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
