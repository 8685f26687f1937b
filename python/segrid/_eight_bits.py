"""Turns more than 8 bits into 8 where numbers have no scale.

The darkest number becomes 0, the brightest 255.
"""

from __future__ import annotations

import numpy as np

LOWEST, HIGHEST = 0.1, 99.9  # percentiles: one hot or dead pixel must not decide
ROWS_AT_ONCE = 256
VALUES_AT_ONCE = 1 << 22


def stretched(samples: np.ndarray, *, together: bool, missing: float | int | None) -> np.ndarray:
    """(H, W, C) uint8 of (H, W, C) numbers: 255 (v - low) / (high - low), rounded and cut.

    low and high are the 0.1st and the 99.9th percentile (linear between ranks); where these are
    equal, the minimum and the maximum; where these are equal too, everything is 0.

    together : all channels share one low and high, so that colours keep their hue; otherwise each
        channel has its own
    missing : the value of pixels without data (may be NaN), which do not count and become 0; None:
        all pixels have data

    Raises ValueError with the count of values that are NaN or Inf and not `missing`.
    """
    known = None if missing is None else ~_equal(samples, missing)
    out = np.zeros(samples.shape, np.uint8)
    channels = samples.shape[2]
    for part in [slice(None)] if together else [slice(c, c + 1) for c in range(channels)]:
        values = samples[..., part]
        counted = values.ravel() if known is None else values[known[..., part]]
        _check_finite(counted)
        if counted.size:
            _scale(values, *_range(counted), out[..., part])
    if known is not None:
        out[~known] = 0
    return out


def _equal(samples: np.ndarray, missing: float | int) -> np.ndarray:
    return np.isnan(samples) if missing != missing else samples == missing


def _check_finite(values: np.ndarray) -> None:
    if values.dtype.kind == "f":
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise ValueError(f"{bad} of {values.size} values are NaN or Inf")


def _range(values: np.ndarray) -> tuple[float, float]:
    """The low and the high percentile; where these are equal, the minimum and the maximum.

    They are as np.percentile gives them in float64, without a float64 copy of the values.
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


def _at_ranks(values: np.ndarray, ranks: list[int]) -> list[float]:
    """The values that would stand at these ranks if all were sorted."""
    if values.dtype != np.uint16:
        return np.partition(values, sorted(set(ranks)))[ranks].astype(np.float64).tolist()
    counts = np.zeros(65536, np.int64)
    for at in range(0, values.size, VALUES_AT_ONCE):
        counts += np.bincount(values[at : at + VALUES_AT_ONCE], minlength=65536)
    return np.searchsorted(np.cumsum(counts), ranks, side="right").astype(np.float64).tolist()


def _scale(values: np.ndarray, low: float, high: float, out: np.ndarray) -> None:
    if not low < high:
        return
    if values.dtype == np.uint16:
        out[...] = _eight(np.arange(65536, dtype=np.uint16), low, high)[values]
        return
    for row in range(0, len(values), ROWS_AT_ONCE):
        out[row : row + ROWS_AT_ONCE] = _eight(values[row : row + ROWS_AT_ONCE], low, high)


def _eight(values: np.ndarray, low: float, high: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # missing values may be NaN
        # Halves are taken because the whole range may not be finite.
        parts = (values.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2)
        return np.rint(np.clip(parts, 0, 1) * 255).astype(np.uint8)
