"""Keeps the last frames that were read, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray


class FrameCache:
    """Frames by index. Above `most_bytes`, the frame that was used least recently goes; the last
    one stays, however large it is."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._frames: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """Returns the frame if it is kept, and notes that it was used."""
        if index in self._frames:
            self._frames.move_to_end(index)
        return self._frames.get(index)

    def put(self, index: int, frame: NDArray[np.uint8]) -> None:
        """Keeps a frame."""
        old = self._frames.pop(index, None)
        self._bytes += frame.nbytes - (0 if old is None else old.nbytes)
        self._frames[index] = frame
        while self._bytes > self._most and len(self._frames) > 1:
            self._bytes -= self._frames.popitem(last=False)[1].nbytes

    def room(self, frame_bytes: int) -> int:
        """Returns how many frames of that size fit, at least 1."""
        return max(1, self._most // max(1, frame_bytes))

    def clear(self) -> None:
        """Forgets all frames."""
        self._frames.clear()
        self._bytes = 0
