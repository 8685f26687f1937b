"""The frames of a video as the video service has them: the first ones only, and reduced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segrid.video.area import reduce_by_area
from segrid.video.frames import FrameNotFound, Frames


class FirstFrames(Frames):
    """The first frames of a video, each reduced so that no side is longer than `longest`. Points
    and masks of a session have the reduced size, while `Tracker.open(long_side=...)` keeps the
    video's own.

    frames : of the video, open and not reduced; closed together with these
    most : how many frames there are at most
    longest : pixels; the sides are rounded down
    """

    def __init__(self, frames: Frames, most: int, longest: int) -> None:
        super().__init__(frames.name, None)
        self._frames, self._most = frames, most
        self.size = self.reduced_size = reduced(frames.size, longest)
        self.rate = frames.rate
        self._has_most = False  # whether the video has `most` frames and more

    @property
    def count(self) -> int | None:
        if self._has_most:
            return self._most
        return None if self._frames.count is None else min(self._frames.count, self._most)

    @property
    def count_is_exact(self) -> bool:
        return self._has_most or self._frames.count_is_exact

    @property
    def times(self) -> NDArray[np.float64]:
        return self._frames.times[: self._most]

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        if index >= self._most:
            raise FrameNotFound(self.name, index, self._most)
        frame = reduce_by_area(self._frames.read(index), self.size)
        self._has_most |= index == self._most - 1
        frame.flags.writeable = False
        self._cache.put(index, frame)
        return frame

    def _release(self) -> None:
        self._frames.close()


def reduced(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(H, W) with no side above `longest`, rounded down, and never larger than `size`."""
    long_side = max(size)
    if long_side <= longest:
        return size
    height, width = (max(1, side * longest // long_side) for side in size)
    return height, width
