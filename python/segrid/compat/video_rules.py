"""What the drop-ins of video predictors share: limits, the order of frames, the normalisation of
pixels, and what a mask means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid.compat.tensors import array_of

# The originals keep every frame's logits, and as many objects as are prompted.
WITHOUT_LIMIT = {"history": 1 << 40, "max_objects": 1 << 40}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels in 0..1, by channel


def frames_in_order(start: int, most: int, count: int, reverse: bool) -> range:
    """The frames of a run in a video of `count` frames: from `start` on, and up to `most` others.
    Like the originals, a run backwards from frame 0 has none."""
    if not reverse:
        return range(start, min(start + most, count - 1) + 1)
    return range(start, max(start - most, 0) - 1, -1) if start > 0 else range(0)


def mask_of_prompt(mask: Any, side: int) -> NDArray[np.bool_]:
    """The mask of a prompt as the originals read it. Of arrays, what is not 0 belongs to the
    object. A tensor of numbers, such as logits, is resized to the model's square of `side` pixels
    first, and what is at least 0.5 there belongs to the object. (The originals do not compare with
    0.5 what has the square's size already, so that edges of such a tensor may differ.)"""
    import torch

    if not isinstance(mask, torch.Tensor) or mask.dtype == torch.bool:
        return array_of(mask).astype(bool)
    rows = mask.detach().float().reshape(1, 1, *mask.shape[-2:])
    if rows.shape[-2:] != (side, side):
        rows = torch.nn.functional.interpolate(
            rows, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
    return array_of(rows[0, 0] >= 0.5)
