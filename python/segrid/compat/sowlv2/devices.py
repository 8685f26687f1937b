"""Where SOWLv2's models run."""

from __future__ import annotations

import warnings

from segrid._native import _core


def device_of(device: str) -> str:
    """Where models run; where CUDA is asked for and not there, "cpu", and a warning says why.
    Raises ValueError for unknown names."""
    try:
        return _core.resolve_device(str(device))
    except NotImplementedError as error:
        warnings.warn(f"{error}; running on the CPU", UserWarning, stacklevel=3)
        return "cpu"
