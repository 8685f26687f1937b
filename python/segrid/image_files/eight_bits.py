"""Maps numbers of more than 8 bits, which have no reliable scale, to 8 bits by their range.

The darkest number becomes 0, the brightest 255.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._types import Samples

LOWEST, HIGHEST = 0.1, 99.9  # percentiles, so that one hot or dead pixel does not matter
VALUES_AT_ONCE = 1 << 20


def stretched(
    samples: Samples, *, together: bool, ignored: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """(H, W, C) uint8 of (H, W, C) numbers: 255 (v - low) / (high - low), rounded and clipped.

    low and high are the 0.1st and the 99.9th percentile (linear between ranks). Where these are
    equal, they are the minimum and the maximum; where these are equal too, the result is 0.

    together : all channels share one low and high, so that colours keep their hue; otherwise each
        channel has its own
    ignored : (H, W, C) bool of samples without data, which do not count and become 0; None: all
        samples have data

    Raises ValueError with the count of values that are NaN or Inf and not ignored.
    """
    known = None if ignored is None else ~ignored
    out = np.zeros(samples.shape, np.uint8)
    channels = samples.shape[2]
    for part in [slice(None)] if together else [slice(c, c + 1) for c in range(channels)]:
        values = samples[..., part]
        counted = values.ravel() if known is None else values[known[..., part]]
        check_finite(counted)
        if counted.size:
            low, high = _range(counted)
            if low < high:
                out[..., part] = mapped(
                    values, functools.partial(_scaled_to_255, low=low, high=high)
                )
    if ignored is not None:
        out[ignored] = 0
    return out


def check_finite(values: Samples) -> None:
    """Raises ValueError with the count of values that are NaN or Inf."""
    if values.dtype.kind == "f":
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise ValueError(f"{bad} of {values.size} values are NaN or Inf")


def mapped(values: Samples, rule: Callable[[Samples], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Applies a rule that gives uint8 to each of (H, W, C) numbers.

    Numbers of at most 16 bits are looked up in a table. The numbers are converted a million at a
    time, because rules and tables make copies of 8 bytes for each number.
    """
    if values.dtype.itemsize <= 2:
        rule, values = _table(values.dtype, rule), values.view(f"u{values.dtype.itemsize}")
    out = np.empty(values.shape, np.uint8)
    height, width, channels = values.shape
    columns = max(1, min(width, VALUES_AT_ONCE // channels))
    rows = max(1, VALUES_AT_ONCE // (columns * channels))
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            piece = slice(row, row + rows), slice(column, column + columns)
            out[piece] = rule(values[piece])
    return out


def _table(
    kind: np.dtype[Any], rule: Callable[[Samples], NDArray[np.uint8]]
) -> Callable[[Samples], NDArray[np.uint8]]:
    """The rule as a table over all numbers of a dtype, indexed by their bits."""
    count = 2 if kind.kind == "b" else 2 ** (8 * kind.itemsize)
    every = np.arange(count, dtype=f"u{kind.itemsize}").view(kind)
    return rule(every).__getitem__


def _range(values: Samples) -> tuple[float, float]:
    """The low and the high percentile; where these are equal, the minimum and the maximum.

    They equal np.percentile in float64, and need no float64 copy of the values.
    """
    ranks = [(values.size - 1) * percent / 100 for percent in (LOWEST, HIGHEST)]
    around = [min(int(rank) + step, values.size - 1) for rank in ranks for step in (0, 1)]
    limits = []
    for rank, (below, above) in zip(
        ranks, np.reshape(_at_ranks(values, around), (2, 2)), strict=True
    ):
        limits.append(below * (1 - rank % 1) + above * (rank % 1))
    low, high = limits
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def _at_ranks(values: Samples, ranks: list[int]) -> list[float]:
    """The values at these ranks of the sorted values."""
    if values.dtype != np.uint16:
        return np.partition(values, sorted(set(ranks)))[ranks].astype(np.float64).tolist()
    counts = np.zeros(65536, np.int64)
    for at in range(0, values.size, VALUES_AT_ONCE):
        counts += np.bincount(values[at : at + VALUES_AT_ONCE], minlength=65536)
    return np.searchsorted(np.cumsum(counts), ranks, side="right").astype(np.float64).tolist()


def _scaled_to_255(values: Samples, low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore"):  # missing values may be NaN
        # Halves are subtracted, because high - low may overflow.
        parts = (values.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2)
        return np.rint(np.clip(parts, 0, 1) * 255).astype(np.uint8)
