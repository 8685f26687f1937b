"""Reduces pictures by area interpolation: an output pixel is the mean of the area that it covers.

The area of an output pixel has edges inside input pixels; these count by the share that is covered
(OpenCV's INTER_AREA has the same definition). Sums are 32-bit floats and are rounded once, at the
end, halves upwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS = 32  # output rows at a time: they stay in the processor's cache


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
    lines = picture.reshape(height, width * 3)
    down, across = _taps(height, size[0]), _taps(width, size[1])
    out = np.empty((*size, 3), np.uint8)
    for top in range(0, size[0], ROWS):
        strip = _weighted_rows(lines, down, slice(top, top + ROWS))
        columns = np.ascontiguousarray(strip.reshape(-1, width, 3).transpose(1, 2, 0))
        found = _weighted_rows(columns.reshape(width, -1), across, slice(None))
        found += 0.5
        pixels = found.astype(np.uint8).reshape(size[1], 3, -1)
        out[top : top + ROWS] = pixels.transpose(2, 0, 1)
    return out


@dataclass(frozen=True)
class _Taps:
    """(T, n) : output j is the sum over t of weights[t, j] * input[index[t, j]]."""

    index: NDArray[np.intp]
    weights: NDArray[np.float32]


def _taps(size: int, reduced: int) -> _Taps:
    """The taps of one direction, from `size` pixels to `reduced`.

    In units of 1 / reduced of an input pixel, input i covers [i * reduced, (i + 1) * reduced), and
    output j covers [j * size, (j + 1) * size). A weight is the length that both cover, over `size`.
    """
    starts = np.arange(reduced, dtype=np.int64) * size
    index = starts // reduced + np.arange(-(-size // reduced) + 1)[:, None]
    low = np.maximum(index * reduced, starts)
    high = np.minimum((index + 1) * reduced, starts + size)
    weights = np.maximum(high - low, 0) / size
    used = weights.any(axis=1)
    return _Taps(np.minimum(index, size - 1)[used], weights[used].astype(np.float32))


def _weighted_rows(rows: NDArray[np.generic], taps: _Taps, part: slice) -> NDArray[np.float32]:
    """The outputs `part` of an (H, n) array, along its first direction."""
    total = np.zeros((len(taps.index[0, part]), rows.shape[1]), np.float32)
    for index, weights in zip(taps.index[:, part], taps.weights[:, part], strict=True):
        total += rows[index] * weights[:, None]
    return total
