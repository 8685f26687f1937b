"""The frames of a video as squares of a model's side, made as another library makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid.compat.tensors import array_of, as_stored
from segrid.compat.video_rules import DEVIATION, MEAN
from segrid.video.frames import FrameNotFound, Frames

# Gives the (side, side, 3) uint8 square of an (H, W, 3) uint8 frame.
Squash = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


class SquashedFrames(Frames):
    """The frames of a video, each squashed into a square of `side` pixels, while `size` stays the
    video's own. A session that gets them resizes nothing: its masks have the video's size, and the
    model sees the squares as they are.

    frames : of the video, open; closed together with these
    """

    def __init__(self, frames: Frames, side: int, squash: Squash) -> None:
        super().__init__(frames.name, None)
        self._frames, self._squash = frames, squash
        self.size, self.reduced_size, self.rate = frames.size, (side, side), frames.rate

    @property
    def count(self) -> int | None:
        return self._frames.count

    @property
    def count_is_exact(self) -> bool:
        return self._frames.count_is_exact

    @property
    def times(self) -> NDArray[np.float64]:
        return self._frames.times

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        square = self._squash(self._frames.read(index), self.reduced_size[0])
        square.flags.writeable = False
        self._cache.put(index, square)
        return square

    def _release(self) -> None:
        self._frames.close()


class NormalisedFrames(Frames):
    """Frames that were normalised for a model, as its 8-bit squares.

    images : gives a (3, side, side) tensor by index
    count : the number of frames
    size : (H, W) of the video itself, pixels
    """

    count = 0
    count_is_exact = True

    def __init__(self, images: Any, count: int, size: tuple[int, int], side: int) -> None:
        super().__init__("images", None)
        self.images, self.count = images, count
        self.size, self.reduced_size = size, (side, side)

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        if index >= self.count:
            raise FrameNotFound(self.name, index, self.count)
        square = square_of(self.images[index], self.reduced_size[0])
        square.flags.writeable = False
        return square


def known_count(frames: Frames) -> int:
    """Returns the number of frames. Where the source does not say it, all frames are read once."""
    while frames.count is None:
        _read_to_the_end(frames)
    return frames.count


def _read_to_the_end(frames: Frames) -> None:
    index = 0
    try:
        while True:
            frames.read(index)
            index += 1
    except IndexError:  # FrameNotFound
        return


def square_of(pixel_values: Any, side: int) -> NDArray[np.uint8]:
    """The 8-bit square of a frame that was normalised for a model: a (3, side, side) or (1, 3,
    side, side) tensor. Values are rounded. Raises ValueError for other shapes."""
    values = array_of(pixel_values).astype(np.float32)
    values = values[0] if values.ndim == 4 and len(values) == 1 else values
    if values.shape != (3, side, side):
        raise ValueError(
            f"frame: expected a tensor of shape {(3, side, side)}, normalised as the processor or "
            f"init_state gives it; got {values.shape}"
        )
    mean, deviation = (np.array(v, np.float32) for v in (MEAN, DEVIATION))
    levels = (values.transpose(1, 2, 0) * deviation + mean) * 255
    return np.ascontiguousarray(np.rint(levels).clip(0, 255).astype(np.uint8))


def as_images(video: Any) -> Any:
    """A video in memory as `open_frames` takes it: a list of PIL images, arrays or tensors, or a
    (T, H, W, 3) or (T, 3, H, W) array or tensor. Anything else is returned unchanged."""
    if isinstance(video, (list, tuple)):
        return [_channels_last(item) for item in video]
    return _channels_last(video) if hasattr(video, "ndim") else video


def _channels_last(image: Any) -> Any:
    """Arrays and tensors with the three channels at their end; other images as they are stored."""
    if not hasattr(image, "ndim"):
        return as_stored(image)
    pixels = array_of(image)
    first = pixels.ndim in (3, 4) and pixels.shape[-3] == 3 and pixels.shape[-1] != 3
    return np.moveaxis(pixels, -3, -1) if first else pixels
