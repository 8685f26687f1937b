"""A call of sam2's predictor, the configuration that it needs, and a check that two answers
agree."""

import numpy as np

CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"
CLICKS = dict(
    point_coords=np.array([[[50.0, 60]], [[200, 20]], [[120, 100]], [[10, 140]]]),
    point_labels=np.ones((4, 1), int),
    multimask_output=False,
)


def close(mine, other, tolerance=1e-4):
    """Equal shapes and types; numbers are within `tolerance` of the largest, or of 1."""
    for a, b in zip(mine, other, strict=True):
        assert (
            a.shape == b.shape
            and a.dtype == b.dtype
            and np.abs(a - b).max() <= tolerance * max(1, np.abs(b).max())
        )
