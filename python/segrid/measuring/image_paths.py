"""The images of a measurement, as paths that other processes can open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def existing_paths(images: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The absolute path of each image. Raises FileNotFoundError for the first that is missing."""
    paths = [Path(image).resolve() for image in images]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such image")
    return [str(path) for path in paths]
