"""Names that come from transformers itself, on which segrid does not depend."""

from __future__ import annotations

import importlib
from typing import Any


def original(name: str, module: str = "transformers") -> Any:
    """Returns the attribute of that name from transformers, or from one of its modules.

    Raises ImportError naming it if transformers is not installed, and AttributeError if
    transformers has no such name."""
    # Python asks every module for such names. Programs ask for the version.
    if name.startswith("__") and name != "__version__":
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
