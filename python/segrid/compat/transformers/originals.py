"""What comes from transformers itself, which segrid does not depend on."""

from __future__ import annotations

import importlib
from typing import Any


def original(name: str, module: str = "transformers") -> Any:
    """The attribute of that name of transformers, or of one of its modules.

    Raises ImportError that names it where transformers is not installed, AttributeError where
    transformers has no such name."""
    if name.startswith("__"):  # what Python asks every module for
        raise AttributeError(f"module segrid.compat.transformers has no attribute {name!r}")
    try:
        library = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ImportError(
            f"segrid.compat.transformers: {name} is transformers' own, and transformers is not "
            "installed (pip install transformers)"
        ) from error
    return getattr(library, name)
