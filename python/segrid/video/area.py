"""Reduces pictures by area interpolation: an output pixel is the mean of the area that it covers.

The area of an output pixel has edges inside input pixels; these count by the share that is covered
(OpenCV's INTER_AREA has the same definition). All sums are integers, so the result is exact and is
rounded once, halves upwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS = 64  # output rows at a time: this bounds the memory


def reduced_size(size: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """Returns (H, W) with the longer side at most `long_side`, and never larger than `size`."""
    longest = max(size)
    if long_side is None or longest <= long_side:
        return size
    height, width = (max(1, (2 * side * long_side + longest) // (2 * longest)) for side in size)
    return height, width


def reduce_by_area(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns (h, w, 3) uint8 of an (H, W, 3) uint8 picture, where `size` is (h, w) with h <= H and
    w <= W."""
    if picture.shape[:2] == size:
        return np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    out = np.empty((*size, 3), np.uint8)
    rows, row_weights = _taps(height, size[0])
    columns, column_weights = _taps(width, size[1])
    area = height * width
    # Sums of rows are at most 255 * H, which fits 32 bits for all but absurdly high pictures.
    row_weights = row_weights.astype(np.uint32 if height < 2**24 else np.int64)
    for top in range(0, size[0], ROWS):
        part = slice(top, min(size[0], top + ROWS))
        lines = np.zeros((part.stop - top, width, 3), row_weights.dtype)
        for at, weight in zip(rows, row_weights, strict=True):
            lines += picture[at[part]] * weight[part, None, None]
        total = np.zeros((len(lines), size[1], 3), np.int64)
        for at, weight in zip(columns, column_weights, strict=True):
            total += lines[:, at] * weight[:, None]
        out[part] = (2 * total + area) // (2 * area)
    return out


def _taps(size: int, reduced: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Returns (T, reduced) input indices and weights: output j is the sum over t of weight[t, j] *
    input[index[t, j]], divided by `size`.

    In units of 1 / reduced of an input pixel, input i covers [i * reduced, (i + 1) * reduced), and
    output j covers [j * size, (j + 1) * size). A weight is the length that both cover.
    """
    starts = np.arange(reduced, dtype=np.int64) * size
    first = starts // reduced
    taps = -(-size // reduced) + 1
    index = first + np.arange(taps)[:, None]
    low = np.maximum(index * reduced, starts)
    high = np.minimum((index + 1) * reduced, starts + size)
    return np.minimum(index, size - 1).astype(np.intp), np.maximum(high - low, 0)
