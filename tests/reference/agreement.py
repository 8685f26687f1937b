"""Whether two results are the same."""

import numpy as np


def same_masks(ours, theirs, pixels=2):
    """The same masks in the same order, but for pixels whose logit is next to the threshold."""
    assert len(ours) == len(theirs) > 5
    assert np.abs(ours.scores - theirs.scores).max() < 1e-4
    assert np.abs(ours.areas - theirs.areas).max() <= pixels and np.abs(ours.boxes - theirs.boxes).max() <= 1
    different = (ours.array != theirs.array).sum((1, 2))
    assert different.max() <= pixels, different
    assert np.array_equal(ours.prompt, theirs.prompt) and np.array_equal(ours.points, theirs.points) and np.array_equal(ours.crop_boxes, theirs.crop_boxes)
    assert np.abs(ours.stability - theirs.stability).max() < 1e-2
