"""Arrays of the engine as torch users expect them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np


def array_of(tensor: Any) -> np.ndarray:
    """A tensor of any device, or what NumPy takes; bfloat16, which NumPy lacks, as float32."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def tensor_of(array: np.ndarray) -> Any:
    """A tensor on the array's memory, also where that is read-only (torch has no such thing: do not
    write into it)."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


class Seen:
    """Tensors as they were at one time, to tell whether others are the same, with nothing written
    into them since. It keeps them, so that none can take another's place in memory."""

    def __init__(self, tensors: Iterable[Any]) -> None:
        self._tensors = [(tensor, _version(tensor)) for tensor in tensors]

    def are(self, tensors: Iterable[Any]) -> bool:
        """Whether these are the tensors, unchanged. False for arrays and for tensors made in
        torch.inference_mode: neither can tell what is written into them."""
        now = list(tensors)
        return len(now) == len(self._tensors) and all(
            tensor is then and version is not None and version == _version(tensor)
            for tensor, (then, version) in zip(now, self._tensors, strict=True)
        )


def _version(tensor: Any) -> int | None:
    """How often it was written into; None where that is not counted."""
    if not hasattr(tensor, "is_inference") or tensor.is_inference():
        return None
    version: int = tensor._version
    return version
