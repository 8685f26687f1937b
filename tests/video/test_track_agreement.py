"""J and F of masks, against their definitions with a distance for every pair of pixels."""

import math

import numpy as np
import pytest
from segrid.measuring.track_agreement import (
    Agreement,
    agreement,
    boundary,
    mean_agreement,
    region,
)

RANDOM = np.random.default_rng(4)


def border(mask):
    """(K, 2) pixels whose neighbour to the right, below or diagonally below is on the other
    side."""
    height, width = mask.shape
    return np.array(
        [
            (y, x)
            for y in range(height)
            for x in range(width)
            if any(
                mask[y, x] != mask[y + dy, x + dx]
                for dy, dx in ((0, 1), (1, 0), (1, 1))
                if y + dy < height and x + dx < width
            )
        ]
    ).reshape(-1, 2)


def by_definition(found, truth):
    """F: what lies within 0.8 % of the diagonal, rounded up, of the other border."""
    reach = math.ceil(0.008 * math.hypot(*truth.shape))
    ours, theirs = border(found), border(truth)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs) and found.any() == truth.any())
    distances = ((ours[:, None] - theirs[None]) ** 2).sum(2)
    precision, recall = ((distances.min(axis) <= reach**2).mean() for axis in (1, 0))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def ellipse(height, width):
    """A random one, which may reach beyond the picture."""
    y, x = np.mgrid[:height, :width]
    cy, cx = RANDOM.uniform(0, height), RANDOM.uniform(0, width)
    ry, rx = RANDOM.uniform(1, height / 2), RANDOM.uniform(1, width / 2)
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


@pytest.mark.parametrize("size", [(40, 60), (97, 31), (60, 250)])
def test_boundaries(size):
    values = []
    for _ in range(12):
        truth = ellipse(*size)
        near = np.roll(truth, RANDOM.integers(-3, 4, 2), (0, 1))
        for found in (near, ellipse(*size), near ^ (RANDOM.random(size) < 0.01)):
            values.append(by_definition(found, truth))
            assert boundary(found, truth) == pytest.approx(values[-1])
    assert min(values) < 0.2 and max(values) > 0.6 and len(set(values)) > 15, "vacuous"


def test_empty_and_full_masks():
    empty, full = np.zeros((20, 30), bool), np.ones((20, 30), bool)
    some = empty.copy()
    some[5:9, 7:20] = True
    for found, truth, wanted in (
        (empty, empty, 1),
        (full, full, 1),
        (some, some, 1),
        (empty, some, 0),
        (some, empty, 0),
        (some, full, 0),
        (empty, full, 0),
    ):
        assert boundary(found, truth) == by_definition(found, truth) == wanted
        assert region(found, truth) == (found & truth).sum() / max(1, (found | truth).sum()) or (
            wanted == 1
        )
    assert region(empty, empty) == 1 and region(some, full) == some.mean()


def test_means():
    truth = np.zeros((100, 100), bool)
    truth[20:60, 20:60] = True
    shifted = np.roll(truth, 20, 1)
    pair = agreement(shifted, truth)
    assert pair.j == pytest.approx(1 / 3) and pair.f == boundary(shifted, truth)
    assert pair.mean == (pair.j + pair.f) / 2
    mean = mean_agreement([pair, Agreement(1, 0)])
    assert (mean.j, mean.f) == ((pair.j + 1) / 2, pair.f / 2)
    assert math.isnan(mean_agreement([]).mean)
