"""Tracked objects for the writers' tests, made of arrays."""

from dataclasses import dataclass, field

import numpy as np
from segrid._native import _core
from segrid.results import Masks


def masks_of(arrays):
    """`Masks` of an (N, H, W) bool array, made as a pickle makes them."""
    arrays = np.asarray(arrays, bool)
    count, height, width = arrays.shape
    runs, counts, numbers = [], [], np.zeros((count, 10))
    for i, one in enumerate(arrays):
        turns = np.flatnonzero(np.diff(np.pad(one.ravel().astype(np.int8), 1)))
        pairs = turns.reshape(-1, 2)
        runs.append(pairs)
        counts.append(len(pairs))
        if len(pairs):
            rows, columns = np.nonzero(one)
            numbers[i, :4] = columns.min(), rows.min(), columns.max(), rows.max()
    stats = {"seconds": {}, "peak_memory_mb": 0.0, "batch_size": 0, "halved": 0}
    native = _core.MaskSet.__new__(_core.MaskSet)
    native.__setstate__(
        (
            1,
            (height, width),
            np.array(counts, np.int64),
            np.concatenate([np.zeros((0, 2)), *runs]).astype(np.uint32),
            numbers,
            np.zeros((count, 3), np.float32),
            np.arange(count),
            stats | {"peak_device_memory_mb": 0.0},
            None,
        )
    )
    return Masks(native)


@dataclass
class Frame:
    """What a session's `propagate` gives."""

    index: int
    ids: list
    masks: Masks
    scores: np.ndarray
    names: dict = field(default_factory=dict)


def square(size, left, top, side):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def tracked(index, size=(64, 96), ids=(1, 7), names=None):
    """Two squares, of which the smaller one lies on the larger; in frame 3 the second is lost."""
    second = square(size, 20 + index, 20, 10)
    arrays = [square(size, 10 + index, 10, 30), second & (index != 3)]
    scores = np.array([0.9, np.nan if index == 3 else 0.5], np.float32)
    return Frame(index, list(ids), masks_of(arrays), scores, names or {ids[0]: "red car"})
