"""Reads the next frames on a thread while the engine computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from segrid._closing import Closing
from segrid.video.frames import Frames


class Prefetch(Closing):
    """An iterator of (index, frame), of which the next ones are read ahead.

    frames : where they are read
    indices : which, in this order, such as range(10, -1, -1); it may have no end
    ahead : how many frames are read while one is in use

    An error of reading is raised where its frame would come, and ends the iteration: FrameNotFound
    at the end of the video, and what `Frames.read` raises. Close it, or use it in a `with` block:
    no read runs after that. `frames` stays open.
    """

    def __init__(self, frames: Frames, indices: Iterable[int], *, ahead: int = 1) -> None:
        if ahead < 1:
            raise ValueError(f"ahead: expected at least 1 frame, got {ahead}")
        self._frames, self._indices, self._ahead = frames, iter(indices), ahead
        self._pending: deque[tuple[int, Future[NDArray[np.uint8]]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segrid-frames")
        self._closed = False

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return self

    def __next__(self) -> tuple[int, NDArray[np.uint8]]:
        self._fill(1)
        if not self._pending:
            self.close()
            raise StopIteration
        index, reading = self._pending[0]
        try:
            frame = reading.result()
        except Exception:
            self.close()
            raise
        self._pending.popleft()  # after the wait, which Ctrl-C may end
        self._fill(self._ahead)
        return index, frame

    def _fill(self, length: int) -> None:
        while not self._closed and len(self._pending) < length:
            index = next(self._indices, None)
            if index is None:
                return
            self._pending.append((index, self._thread.submit(self._frames.read, index)))

    def close(self) -> None:
        """Waits for the read that runs, and drops the others. A second call does nothing."""
        self._closed = True
        self._pending.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)
