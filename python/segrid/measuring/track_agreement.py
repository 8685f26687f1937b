"""How well a track agrees with another one: J, the overlap of regions, and F, that of boundaries,
as DAVIS defines them (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.008  # of the diagonal: how far boundaries may be apart, as in DAVIS
Pixels = NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """J and F, each from 0 to 1."""

    j: float
    f: float

    @property
    def mean(self) -> float:
        """J&F."""
        return (self.j + self.f) / 2


def agreement(found: Pixels, truth: Pixels) -> Agreement:
    """J and F of two (H, W) bool masks."""
    return Agreement(region(found, truth), boundary(found, truth))


def mean_agreement(pairs: Sequence[Agreement]) -> Agreement:
    """The means of J and of F. NaN of none."""
    if not pairs:
        return Agreement(math.nan, math.nan)
    return Agreement(
        float(np.mean([pair.j for pair in pairs])), float(np.mean([pair.f for pair in pairs]))
    )


def region(found: Pixels, truth: Pixels) -> float:
    """J of two (H, W) bool masks: intersection over union; 1 where both are empty."""
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary(found: Pixels, truth: Pixels, tolerance: float = TOLERANCE) -> float:
    """F of two (H, W) bool masks: the harmonic mean of the parts of each boundary that lie within
    `tolerance` diagonals of the other; 1 where both are empty."""
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    rows, columns = (np.flatnonzero((found | truth).any(axis)) for axis in (1, 0))
    if not len(rows):
        return 1.0
    window = _around(rows, radius), _around(columns, radius)
    edges = [_edge(mask)[window] for mask in (found, truth)]
    lengths = [np.count_nonzero(edge) for edge in edges]
    if not any(lengths):  # masks of all pixels have no boundary
        return float(found.any() == truth.any())
    if not all(lengths):
        return 0.0
    near = [_dilated(edge, radius) for edge in edges]
    precision = np.count_nonzero(edges[0] & near[1]) / lengths[0]
    recall = np.count_nonzero(edges[1] & near[0]) / lengths[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _around(there: NDArray[np.intp], margin: int) -> slice:
    """The range of ascending indices, with a margin; an edge lies up to one pixel before them."""
    return slice(max(0, int(there[0]) - 1 - margin), int(there[-1]) + 1 + margin)


def _edge(mask: Pixels) -> Pixels:
    """The pixels that differ from their neighbour to the right, below, or both."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def _dilated(edge: Pixels, radius: int) -> Pixels:
    """The pixels within `radius` of the edge."""
    height, width = edge.shape
    sums = np.pad(np.cumsum(edge, axis=1, dtype=np.int32), ((0, 0), (radius + 1, radius)), "edge")
    sums[:, : radius + 1] = 0
    near = np.zeros_like(edge)
    for dy in range(-radius, radius + 1):
        reach = math.isqrt(radius**2 - dy**2)
        after = sums[:, radius + 1 + reach : radius + 1 + reach + width]
        before = sums[:, radius - reach : radius - reach + width]
        wide = after > before  # an edge within `reach` in this row
        first, last = max(0, dy), min(height, height + dy)
        near[first:last] |= wide[first - dy : last - dy]
    return near
