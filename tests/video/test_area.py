"""Area interpolation: OpenCV's INTER_AREA, and its definition."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from segrid.video.area import reduce_by_area, reduced_size


@pytest.mark.parametrize(
    "size,long_side,reduced",
    [
        ((720, 1280), 1024, (576, 1024)),
        ((1280, 720), 1024, (1024, 576)),
        ((360, 640), 1024, (360, 640)),
        ((360, 640), None, (360, 640)),
        ((3, 1000), 10, (1, 10)),
        ((1, 1), 1, (1, 1)),
        ((99, 100), 50, (50, 50)),
    ],
)
def test_reduced_size(size, long_side, reduced):
    assert reduced_size(size, long_side) == reduced


@pytest.mark.parametrize(
    "size,reduced",
    [
        ((72, 128), (57, 102)),
        ((150, 200), (75, 100)),
        ((303, 384), (79, 100)),
        ((7, 1000), (1, 33)),
        ((1, 5), (1, 2)),
        ((300, 20), (1, 1)),
        ((64, 64), (64, 63)),
    ],
)
def test_like_opencv(size, reduced):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = reduce_by_area(picture, reduced)
    original = cv2.resize(picture, reduced[::-1], interpolation=cv2.INTER_AREA)
    difference = np.abs(found - original.reshape(*reduced, 3).astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.03
    assert found.std() > 0 and found.flags.c_contiguous


def test_the_definition():
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    def mean(row, column, channel):
        total = Fraction(0)
        for y in range(5):
            for x in range(7):
                rows = min(y + 1, Fraction(5 * (row + 1), 3)) - max(y, Fraction(5 * row, 3))
                columns = min(x + 1, Fraction(7 * (column + 1), 4)) - max(
                    x, Fraction(7 * column, 4)
                )
                total += max(0, rows) * max(0, columns) * int(picture[y, x, channel])
        return total / (Fraction(5, 3) * Fraction(7, 4))

    found = reduce_by_area(picture, (3, 4))
    for place in np.ndindex(3, 4, 3):
        assert abs(found[place] - mean(*place)) <= Fraction(1, 2) + Fraction(1, 1000)


def test_nothing_to_reduce_copies_nothing():
    picture = np.zeros((4, 6, 3), np.uint8)
    assert reduce_by_area(picture, (4, 6)) is picture
