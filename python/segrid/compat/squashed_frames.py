"""The frames of a video as squares of a model's side, made as another library makes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segrid.video.frames import Frames

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
