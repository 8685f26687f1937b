"""What drop-ins say where a program asks for the tracking of objects through videos."""

from __future__ import annotations

from typing import NoReturn


def not_yet(name: str, instead: str = "images work as in the original") -> NoReturn:
    """Raises NotImplementedError that names what was called and what there is instead."""
    raise NotImplementedError(f"{name}: segrid follows no objects through videos yet; {instead}")
