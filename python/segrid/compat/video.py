"""The error of drop-ins for programs that track objects through videos."""

from __future__ import annotations

from typing import NoReturn


def not_yet(name: str, instead: str = "images work as in the original") -> NoReturn:
    """Raises NotImplementedError that names the call and its replacement."""
    raise NotImplementedError(f"{name}: segrid follows no objects through videos yet; {instead}")
