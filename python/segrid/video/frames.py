"""The frames of a video, read one at a time by their index, whatever they come from."""

from __future__ import annotations

import operator
import threading
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from segrid._closing import Closing
from segrid.video.area import reduce_by_area, reduced_size
from segrid.video.frame_cache import FrameCache

CACHE_BYTES = 64 << 20  # of the last frames, as they are after the reduction


class FrameNotFound(IndexError):
    """There is no frame of that index.

    Attributes
    ----------
    index : int, the frame that was asked for
    count : int, the number of frames that there are; None where it is not known
    """

    def __init__(self, name: str, index: int, count: int | None) -> None:
        if index < 0:
            rule = "frames are counted from 0"
        elif count is None:
            rule = "the source has no frame of this index"
        else:
            rule = (
                f"there are {count} frames (0 to {count - 1})" if count else "there are no frames"
            )
        super().__init__(f"{name}: there is no frame {index}; {rule}")
        self.name, self.index, self.count = name, index, count

    def __reduce__(self) -> tuple[type[FrameNotFound], tuple[str, int, int | None]]:
        return type(self), (self.name, self.index, self.count)


class Frames(Closing):
    """The frames of one video. `open_frames` makes them.

    Threads may read from the same object: one read at a time runs, the others wait.

    Attributes
    ----------
    name : the source in messages: a path, or "frames"
    size : (H, W) of the video itself, pixels, after the rotation that its metadata asks for
    reduced_size : (H, W) of the frames that `read` gives
    rate : the mean number of frames per second; None where the source does not say
    """

    def __init__(self, name: str, long_side: int | None) -> None:
        if long_side is not None and operator.index(long_side) < 1:
            raise ValueError(f"long_side: expected at least 1 pixel, got {long_side}")
        self.name = name
        self.rate: float | None = None
        self.size = self.reduced_size = (0, 0)  # `begin` sets them
        self._long_side = long_side
        self._cache = FrameCache(CACHE_BYTES)
        self._lock = threading.RLock()
        self._closed = False

    def begin(self) -> None:
        """Reads the first frame, which tells the size. Raises ValueError where there is none."""
        try:
            self.read(0)
        except FrameNotFound as error:
            raise ValueError(f"{self.name}: no frames; a video needs at least one") from error

    @property
    @abstractmethod
    def count(self) -> int | None:
        """The number of frames. Where `count_is_exact` is False, it is what the source claims, or
        None where it claims nothing."""

    @property
    @abstractmethod
    def count_is_exact(self) -> bool:
        """Whether `count` is the true number, and not what a header says."""

    @property
    def times(self) -> NDArray[np.float64]:
        """The times of the first frames, as far as they have been read, in seconds from the first;
        NaN where a frame has none. By index and `rate`; a video file has times of its own."""
        return np.arange(self.count or 0) / (self.rate or np.nan)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Returns a frame, (h, w, 3) uint8 RGB, C-contiguous and read-only, of `reduced_size`.

        A video that is larger than `long_side` is reduced by area interpolation; no frame is
        enlarged. A frame has the same pixels whenever it is read.

        Raises FrameNotFound (an IndexError) beyond the end, with the true number of frames;
        CorruptFileError (a ValueError) for a damaged frame, and ValueError for a frame of another
        size, with index and source; OSError; ValueError when closed; and what a callable or an
        iterator raises.
        """
        index = operator.index(index)
        if index < 0:
            raise FrameNotFound(self.name, index, None)
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.name}: the frames are closed; open the source again")
            frame = self._cache.get(index)
            return self._fetch(index) if frame is None else frame

    @abstractmethod
    def _fetch(self, index: int) -> NDArray[np.uint8]:
        """Reads a frame that is not in the cache, and returns what `_keep` returned for it."""

    def _keep(self, index: int, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the frame of an (H, W, 3) picture, and keeps it in the cache."""
        frame = self._reduced(index, picture)
        self._cache.put(index, frame)
        return frame

    def _reduced(self, index: int, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        if index == 0 and self.size == (0, 0):
            self.size = (height, width)
            self.reduced_size = reduced_size(self.size, self._long_side)
        if (height, width) != self.size:
            raise ValueError(self._other_size(index, (height, width)))
        frame = reduce_by_area(picture, self.reduced_size)
        if frame.flags.writeable:
            frame.flags.writeable = False
        return frame

    def _other_size(self, index: int, size: tuple[int, int]) -> str:
        return (
            f"{self._place(index)}: {size[1]} x {size[0]} pixels, but the first frame has "
            f"{self.size[1]} x {self.size[0]}; the frames of a video must have one size"
        )

    def _place(self, index: int) -> str:
        """The frame in messages."""
        return f"{self.name}: frame {index}"

    def close(self) -> None:
        """Gives files and memory back. A second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._cache.clear()
                self._release()

    def _release(self) -> None:  # noqa: B027  (not every source has something to give back)
        """Closes what the source holds."""
