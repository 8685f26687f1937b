"""Translates torch's devices to segrid's."""

from __future__ import annotations

from typing import Any


def named(device: Any) -> str:
    """Returns segrid's name of a torch device. "cuda" is the device that torch.cuda.set_device
    chose; a number is a CUDA device."""
    if isinstance(device, int):
        return f"cuda:{device}"
    if str(device) == "cuda":
        import torch

        if torch.cuda.is_available():
            return f"cuda:{torch.cuda.current_device()}"
    return str(device)
