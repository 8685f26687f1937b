"""The memory of this process, on systems with /proc."""

from __future__ import annotations

import gc
from pathlib import Path

from segrid._native import _core


def resident_mb(field: str) -> float | None:
    """A field of /proc/self/status in MB; None without /proc.

    VmRSS is the resident memory, VmHWM its peak, and RssAnon is VmRSS without pages of libraries.
    """
    gc.collect()
    if field != "VmHWM":
        _core.give_back_memory()  # freed memory that glibc keeps does not count
    try:
        line = next(
            text
            for text in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            if text.startswith(field + ":")
        )
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) / 1024


def reset_peak() -> None:
    """Resets the peak (VmHWM) to the present size."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def difference(a: float | None, b: float | None) -> float | None:
    """a - b; None where either is None."""
    return None if a is None or b is None else a - b
