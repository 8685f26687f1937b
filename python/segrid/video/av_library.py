"""The av package (PyAV), which reads and writes video files. It is optional."""

from __future__ import annotations

import importlib
from types import ModuleType


def av_library(purpose: str) -> ModuleType:
    """Returns the module `av`, which by default lets FFmpeg print nothing.

    purpose : what needs it, for the message

    Raises ImportError that names the command which installs it.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs the av package: pip install "segrid[video]" (or pip install av)'
        ) from error
