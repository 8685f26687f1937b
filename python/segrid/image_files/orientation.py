"""Applies the tag Orientation of EXIF and TIFF."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def upright(pixels: NDArray[T], orientation: object) -> NDArray[T]:
    """The upright view, (H, W, ...) or (W, H, ...), of pixels as they are stored.

    orientation : 1 to 8; any other value in a file counts as upright
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]
