"""The outline of a mask as rings of pixel corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rings(mask: NDArray[np.bool_]) -> list[list[list[int]]]:
    """The rings of a mask, each a list of [x, y]: outer outlines and holes. Filled by the even-odd
    rule they are the mask; the first corner is not repeated at the end.

    An outline turns where an odd number of the four pixels around a corner belong to the mask, and
    twice where two pixels meet diagonally: there each pixel keeps a corner of its own, so that
    parts that touch at a corner have separate rings. In each row of corners the turns are joined in
    pairs by horizontal edges, in each column by vertical ones.
    """
    padded = np.pad(mask, 1)
    up_left, up_right = padded[:-1, :-1], padded[:-1, 1:]
    down_left, down_right = padded[1:, :-1], padded[1:, 1:]
    single = up_left ^ up_right ^ down_left ^ down_right
    diagonal = ~single & (up_left != up_right) & (up_left == down_right)
    y, x = np.nonzero(single)
    twice_y, twice_x = np.nonzero(diagonal)
    falling = up_left[twice_y, twice_x]  # the two pixels are up left and down right
    # The first copy of a double corner belongs to the upper pixel, the second to the lower one.
    y, x = np.concatenate([y, twice_y, twice_y]), np.concatenate([x, twice_x, twice_x])
    once = np.zeros(int(single.sum()), int)
    # In a row the copy whose edge goes to the left is first, in a column that whose edge goes up.
    across = np.concatenate([once, np.where(falling, 0, 1), np.where(falling, 1, 0)])
    down = np.concatenate([once, np.zeros(len(falling), int), np.ones(len(falling), int)])
    beside = _partners(np.lexsort((across, x, y)))
    below = _partners(np.lexsort((down, y, x)))
    return _followed(x.tolist(), y.tolist(), beside.tolist(), below.tolist())


def _partners(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each corner the other end of its edge: neighbours in the order are pairs."""
    partner = np.empty_like(order)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner


def _followed(
    x: list[int], y: list[int], beside: list[int], below: list[int]
) -> list[list[list[int]]]:
    found = []
    seen = [False] * len(x)
    for start in range(len(x)):
        if seen[start]:
            continue
        ring, at = [], start
        while not seen[at]:
            for edges in (beside, below):
                seen[at] = True
                ring.append([x[at], y[at]])
                at = edges[at]
        found.append(ring)
    return found
