"""Checks that two results are the same."""

import numpy as np


def same_masks(ours, theirs, pixels=2):
    """The same masks in the same order, except for `pixels` pixels whose logit is next to the
    threshold."""
    assert len(ours) == len(theirs) > 5
    assert np.abs(ours.scores - theirs.scores).max() < 1e-4
    assert (
        np.abs(ours.areas - theirs.areas).max() <= pixels
        and np.abs(ours.boxes - theirs.boxes).max() <= 1
    )
    different = (ours.array != theirs.array).sum((1, 2))
    assert different.max() <= pixels, different
    assert (
        np.array_equal(ours.prompt, theirs.prompt)
        and np.array_equal(ours.points, theirs.points)
        and np.array_equal(ours.crop_boxes, theirs.crop_boxes)
    )
    assert np.abs(ours.stability - theirs.stability).max() < 1e-2


def same_arrays(mine, theirs, tolerance=1e-3):
    """Arrays or tensors of equal types, dtypes and shapes. Numbers are within `tolerance` of the
    largest; of masks 99.95 % of the pixels are equal."""
    for one, other in zip(mine, theirs, strict=True):
        assert type(one) is type(other) and one.dtype == other.dtype
        assert tuple(one.shape) == tuple(other.shape)
        one, other = np.asarray(one), np.asarray(other)
        if one.dtype == bool:
            assert (one == other).mean() > 0.9995
        else:
            assert np.abs(one - other).max() <= tolerance * np.abs(other).max()
