"""The frames of a video session as transformers makes them: squashed into the model's square on
8-bit pixels, whether a whole video is given or frames are pushed one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid.compat.squashed_frames import SquashedFrames, as_images
from segrid.compat.tensors import tensor_of
from segrid.compat.video_rules import DEVIATION, MEAN
from segrid.video.frames import FrameNotFound, Frames
from segrid.video.sources import open_frames


def squashed(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Returns the (side, side, 3) square of an (H, W, 3) frame: bilinear with antialiasing, rounded
    to 8 bits, as torchvision's resize makes it, which transformers calls."""
    import torch

    pixels = tensor_of(picture).permute(2, 0, 1)[None]
    if picture.shape[:2] != (side, side):
        pixels = torch.nn.functional.interpolate(
            pixels, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
    square: NDArray[np.uint8] = pixels[0].permute(1, 2, 0).numpy().copy()
    return square


def normalised(square: NDArray[np.uint8]) -> Any:
    """Returns the (3, side, side) float32 tensor that a model of transformers reads of a square."""
    import torch

    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    return (tensor_of(square).permute(2, 0, 1) / 255.0 - mean) / deviation


def open_video(video: Any, side: int) -> SquashedFrames:
    """Opens a video as transformers takes it: a list of PIL images, arrays or tensors, a (T, H, W,
    3) or (T, 3, H, W) array or tensor, or a path; and what `segrid.video.sources.open_frames`
    takes, whose errors it raises."""
    if isinstance(video, (list, tuple)) and len(video) == 1 and isinstance(video[0], (list, tuple)):
        video = video[0]  # a batch of one video
    return SquashedFrames(open_frames(as_images(video)), side, squashed)


class PushedFrames(Frames):
    """Squares that are pushed one by one. The last 64 MiB of them are kept. `size`, that of the
    video itself, may be set later."""

    def __init__(self, side: int) -> None:
        super().__init__("frames", None)
        self.size = self.reduced_size = (side, side)
        self.pushed = 0

    @property
    def count(self) -> None:
        return None

    @property
    def count_is_exact(self) -> bool:
        return False

    def push(self, square: NDArray[np.uint8]) -> int:
        """Adds the next frame. Returns its index."""
        square.flags.writeable = False
        with self._lock:
            self._cache.put(self.pushed, square)
            self.pushed += 1
        return self.pushed - 1

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        if index >= self.pushed:
            raise FrameNotFound(self.name, index, self.pushed)
        raise ValueError(
            f"{self._place(index)}: this frame was pushed and is no longer kept; for runs over "
            "earlier frames give the whole video to init_video_session"
        )
