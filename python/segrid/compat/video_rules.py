"""What the drop-ins of video predictors share: limits, the order of frames, and the normalisation
of pixels."""

from __future__ import annotations

# The originals keep every frame's logits, and as many objects as are prompted.
WITHOUT_LIMIT = {"history": 1 << 40, "max_objects": 1 << 40}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels in 0..1, by channel


def frames_in_order(start: int, most: int, count: int, reverse: bool) -> range:
    """The frames of a run in a video of `count` frames: from `start` on, and up to `most` others.
    Like the originals, a run backwards from frame 0 has none."""
    if not reverse:
        return range(start, min(start + most, count - 1) + 1)
    return range(start, max(start - most, 0) - 1, -1) if start > 0 else range(0)
