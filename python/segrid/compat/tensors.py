"""Converts between the engine's arrays and torch's tensors."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

ORIENTATION, UPRIGHT = 0x0112, 1  # the EXIF tag and its value for pixels that lie upright


def array_of(tensor: Any) -> np.ndarray:
    """Converts a tensor of any device, or anything that NumPy takes, to an array. bfloat16, which
    NumPy lacks, becomes float32."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def tensor_of(array: np.ndarray) -> Any:
    """Returns a tensor that shares the array's memory, even if that is read-only. torch has no
    read-only tensors: do not write into it."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def as_stored(image: Any) -> Any:
    """Returns an image of which segrid reads the pixels as the originals do: they do not turn a PIL
    image by its EXIF orientation. What is not turned, and what is no PIL image, stays as it is."""
    if not hasattr(image, "getexif") or image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT:
        return image
    return np.asarray(image.convert("RGB"))


class Seen:
    """Remembers tensors, to tell later whether others are the same ones and have not been written
    into. It keeps the tensors, so that no other tensor can take their memory."""

    def __init__(self, tensors: Iterable[Any]) -> None:
        self._tensors = [(tensor, _version(tensor)) for tensor in tensors]

    def are(self, tensors: Iterable[Any]) -> bool:
        """Whether these are the remembered tensors, unchanged. False for arrays and for tensors
        made in torch.inference_mode, because neither records writes."""
        now = list(tensors)
        return len(now) == len(self._tensors) and all(
            tensor is then and version is not None and version == _version(tensor)
            for tensor, (then, version) in zip(now, self._tensors, strict=True)
        )


def _version(tensor: Any) -> int | None:
    """Returns how often the tensor was written into, or None if that is not counted."""
    if not hasattr(tensor, "is_inference") or tensor.is_inference():
        return None
    version: int = tensor._version
    return version
