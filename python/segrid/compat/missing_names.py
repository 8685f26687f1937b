"""Names of the originals' modules that segrid does not offer: importing one says what to use."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def not_offered(module: str, instead: str, *names: str) -> Callable[[str], NoReturn]:
    """Returns a module's `__getattr__`, which raises ImportError for these names.

    instead : what to do, for the message"""

    def missing(name: str) -> NoReturn:
        if name in names:
            raise ImportError(f"{module}.{name}: not offered by segrid; {instead}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return missing
