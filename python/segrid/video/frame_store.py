"""Keeps the frames of sources that cannot go back, as JPEG files in a temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segrid import _temporary
from segrid._closing import Closing
from segrid._image import read_image

MAX_BYTES = 2 << 30
QUALITY = 85
PREFIX = "segrid-frames-"


class FrameStore(Closing):
    """Frames by index, as JPEG of quality 85 (sam2's videos are such files, too).

    The folder is made below `folder` (default: the system's temporary folder) and removed by
    `close`, when the object is garbage, and at the interpreter's exit. What a killed process left
    behind is removed when the next store is made there.

    max_bytes : the largest number of bytes of all files
    """

    def __init__(
        self, *, max_bytes: int = MAX_BYTES, folder: str | os.PathLike[str] | None = None
    ) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes: expected at least 1 byte, got {max_bytes}")
        parent = Path(tempfile.gettempdir() if folder is None else folder)
        self.folder, lock = _temporary.make(parent, PREFIX)
        self.max_bytes, self.bytes = max_bytes, 0
        self._sizes: dict[int, int] = {}
        self._remove = weakref.finalize(self, _remove, self.folder, lock, os.getpid())

    def __contains__(self, index: int) -> bool:
        return index in self._sizes

    def put(self, index: int, frame: NDArray[np.uint8]) -> None:
        """Keeps an (H, W, 3) uint8 frame.

        Raises ValueError where it would exceed `max_bytes`, or when closed; OSError.
        """
        from PIL import Image

        self._check_open()
        path = self._path(index)
        try:
            Image.fromarray(frame).save(path, "JPEG", quality=QUALITY)
            size = path.stat().st_size
            total = self.bytes + size - self._sizes.get(index, 0)
            if total > self.max_bytes:
                raise ValueError(
                    f"frame store: frame {index} makes it {total} bytes; the limit is "
                    f"{self.max_bytes} (max_bytes of FrameStore). Raise it, or reduce the frames "
                    "with a smaller long_side"
                )
        except BaseException:
            path.unlink(missing_ok=True)
            self.bytes -= self._sizes.pop(index, 0)
            raise
        self.bytes, self._sizes[index] = total, size

    def get(self, index: int) -> NDArray[np.uint8]:
        """Returns a frame, (H, W, 3) uint8. Raises KeyError for one that was not put, OSError, and
        ValueError when closed."""
        self._check_open()
        if index not in self._sizes:
            raise KeyError(f"frame store: there is no frame {index}")
        return read_image(self._path(index))

    def close(self) -> None:
        """Removes the folder. A second call does nothing."""
        self._remove()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:08d}.jpg"

    def _check_open(self) -> None:
        if not self._remove.alive:
            raise ValueError("frame store: it is closed; its files are removed")


def _remove(folder: Path, lock: int, owner: int) -> None:
    """Removes a store's folder; in a fork of its process, only closes the lock."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
