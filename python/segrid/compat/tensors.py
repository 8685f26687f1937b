"""Arrays of the engine as torch users expect them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from segrid.results import Masks


def low_res_of(masks: Masks) -> np.ndarray:
    """A copy of their logits, for the user to write into; ValueError where they were not kept
    because of their size."""
    if masks.low_res is None:
        raise ValueError(
            f"{len(masks)} masks: their low-res logits would exceed the limit of the "
            "engine (256 MB, kMaxLowResBytes); ask for fewer prompts at once"
        )
    return masks.low_res.copy()


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
