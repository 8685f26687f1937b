"""How much memory this process takes, where /proc tells."""

from __future__ import annotations

import gc
from pathlib import Path

from segrid._native import _core


def resident_mb(field: str) -> float | None:
    """MB of this process, where /proc tells. RssAnon leaves the libraries' own pages out."""
    gc.collect()
    if field != "VmHWM":
        _core.give_back_memory()  # what is free but not given back is nobody's
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
    """Makes the peak (VmHWM) begin here."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def difference(a: float | None, b: float | None) -> float | None:
    """The first less the second; None where either is None."""
    return None if a is None or b is None else a - b
