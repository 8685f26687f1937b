"""Label maps: pictures whose pixels are the numbers of objects."""

from __future__ import annotations

import os

import numpy as np

from segrid._types import Samples


def read_label_map(file: str | os.PathLike[str]) -> Samples:
    """The (H, W) whole numbers of a PNG or TIFF: 0 is background, every other number is an object.

    Raises ValueError for a picture with several channels, and OSError.
    """
    from PIL import Image

    with Image.open(file) as picture:
        numbers = np.asarray(picture)
    if numbers.ndim != 2:
        raise ValueError(
            f"{os.fspath(file)}: a label map has one channel of object numbers, this one has shape "
            f"{numbers.shape}"
        )
    return numbers
