"""The av package (PyAV), which reads and writes video files. It is optional."""

from __future__ import annotations

import importlib
from types import ModuleType

OLDEST = 17  # the first version whose conversions of pixels run on one thread if asked


def av_library(purpose: str) -> ModuleType:
    """Returns the module `av`, which by default lets FFmpeg print nothing.

    purpose : what needs it, for the message

    Raises ImportError that names the command which installs it, also for an older version.
    """
    how = f'pip install "segrid[video]" (or pip install "av>={OLDEST}")'
    try:
        library = importlib.import_module("av")
    except ImportError as error:
        raise ImportError(f"{purpose} needs the av package: {how}") from error
    found = str(library.__version__)
    if int(found.partition(".")[0]) < OLDEST:
        raise ImportError(f"{purpose} needs av {OLDEST} or later, and {found} is installed: {how}")
    return library
