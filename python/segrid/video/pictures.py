"""Decoded pictures become RGB, upright."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from segrid._native import CorruptFileError
from segrid.image_files.orientation import upright

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# By whether the display matrix swaps rows and columns, whether the rows of the result run backwards
# and whether its columns do: the orientation of EXIF.
ORIENTATIONS = {
    (False, False, False): 1,
    (False, False, True): 2,
    (False, True, True): 3,
    (False, True, False): 4,
    (True, False, False): 5,
    (True, False, True): 6,
    (True, True, True): 7,
    (True, True, False): 8,
}


def to_rgb(picture: VideoFrame, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a decoded picture, turned as its metadata says.

    Colours are converted by the matrix and range that the video names (BT.601 where it names
    none); alpha is dropped. Raises NotImplementedError for a rotation that is not a multiple of 90
    degrees, CorruptFileError for a format of pixels that FFmpeg cannot convert.
    """
    try:
        pixels = picture.to_ndarray(format="rgb24", threads=1)
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except (ValueError, OSError, NotImplementedError) as error:
        raise CorruptFileError(
            f"{name}: pixels of format {picture.format.name} cannot become RGB ({reason(error)})"
        ) from error
    turned = upright(pixels.astype(np.uint8, copy=False), _orientation(picture, name))
    return np.ascontiguousarray(turned)


def shown_size(picture: VideoFrame, name: str) -> tuple[int, int]:
    """(H, W) of a decoded picture after its rotation. Raises NotImplementedError like `to_rgb`."""
    swapped = _orientation(picture, name) > 4
    return (picture.width, picture.height) if swapped else (picture.height, picture.width)


def _orientation(picture: VideoFrame, name: str) -> int:
    """The orientation, as EXIF numbers it, of the picture's display matrix. The pixel (x, y) is
    shown at (a x + c y, b x + d y); the matrix is a, b, _, c, d, _, ..."""
    found = cast("Mapping[str, bytes]", picture.side_data).get("DISPLAYMATRIX")
    if found is None:
        return 1
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(found))
    if a * d == b * c:  # no rotation, but damaged
        return 1
    swapped = abs(a) < abs(b)
    slanted = max(abs(a), abs(d)) if swapped else max(abs(b), abs(c))
    if slanted * 100 > max(abs(a), abs(b)):
        raise NotImplementedError(
            f"{name}: the video is to be shown turned by {picture.rotation} degrees; only "
            "multiples of 90 are supported. Turn it first, or remove that from its metadata"
        )
    across, down = (c, b) if swapped else (a, d)
    return ORIENTATIONS[swapped, down < 0, across < 0]


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the number and the call."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
