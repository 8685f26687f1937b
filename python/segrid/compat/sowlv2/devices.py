"""Chooses the device of SOWLv2's models."""

from __future__ import annotations

import warnings

from segrid._native import _core


def device_of(device: str) -> str:
    """Returns the device that models run on. If CUDA is requested and missing, it is "cpu", and a
    warning gives the reason. Raises ValueError for unknown names."""
    try:
        return _core.resolve_device(str(device))
    except NotImplementedError as error:
        warnings.warn(f"{error}; running on the CPU", UserWarning, stacklevel=3)
        return "cpu"
