"""COCO's run lengths of masks become arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segrid._types import JsonObject

DEEPEST_SHIFT = 35  # bits of a number in COCO's text


def decode_rle(rle: JsonObject) -> NDArray[np.bool_]:
    """(H, W) bool of {"size": [H, W], "counts": ...}, whose counts are COCO's compressed text (str
    or bytes) or a list of numbers that begins with zeros.

    Raises ValueError where the counts do not fill the size, and KeyError and TypeError for other
    objects. Source: pycocotools.mask.decode, for one mask.
    """
    height, width = (int(side) for side in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, str):
        counts = counts.encode("ascii")
    runs = np.asarray(_numbers(counts) if isinstance(counts, bytes) else counts)
    if runs.dtype.kind not in "iu" or runs.ndim != 1 or (runs < 0).any():
        raise ValueError("counts: expected numbers from 0")
    if runs.sum(dtype=np.float64) != height * width:  # a sum of whole numbers could overflow
        raise ValueError(f"counts: do not fill {height} x {width} pixels")
    in_mask = np.arange(len(runs)) % 2 == 1
    return np.repeat(in_mask, runs).reshape(width, height).T


def _numbers(text: bytes) -> list[int]:
    """The runs of COCO's text: 5 bits in each character, the sixth says that more follow, and from
    the fourth run on the difference to the run before the last one."""
    found: list[int] = []
    number = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > DEEPEST_SHIFT:
            raise ValueError("counts: not COCO's text")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            found.append(number + found[-2] if len(found) > 2 else number)
            number = shift = 0
    if shift:
        raise ValueError("counts: cut off")
    return found
