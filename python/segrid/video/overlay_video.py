"""A video of the frames with their objects drawn on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segrid._types import ImageItem
from segrid.detections import Detections
from segrid.video.picture_video import PictureVideo
from segrid.video.tracked import Tracked, label_of


def draw(picture: ImageItem, tracked: Tracked) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8: a frame with the outlines, boxes, ids and names of its objects, and
    the probabilities that they are there; lost objects are left out.

    An object has the same colour in all frames: that of `Detections.picture` for its id and name.
    picture : the frame, (H, W, 3); masks of another size are resized to its size
    """
    height, width = np.shape(picture)[:2]
    there = np.flatnonzero(tracked.masks.areas).tolist()
    masks = tracked.masks[there]
    if masks.size != (height, width):
        masks = masks.resized((height, width))
    ids = [tracked.ids[i] for i in there]
    labels = [label_of(tracked, number) for number in ids]
    logits = np.asarray(tracked.scores, np.float64)[there]
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    kinds = np.array(ids, np.int64)
    found = Detections(masks.boxes, scores, labels, kinds, (height, width), masks)
    return found.picture(picture)


class OverlayVideo(PictureVideo):
    """A `PictureVideo` of frames with their objects."""

    def add(self, picture: ImageItem, tracked: Tracked) -> None:
        """Draws the objects on a frame, (H, W, 3) uint8 RGB, and appends it.

        Raises ValueError for a frame of another size than the first, and OSError.
        """
        self.append(draw(picture, tracked))
