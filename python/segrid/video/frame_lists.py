"""Frames that are images in the caller's hands: a list or an array, a callable, an iterator."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segrid._image import read_image
from segrid._types import ImageItem
from segrid.video.frame_store import FrameStore
from segrid.video.frames import FrameNotFound, Frames


@runtime_checkable
class ImageList(Protocol):
    """What has a length and gives an image for each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> ImageItem: ...


class _Images(Frames):
    """Frames of images that `read_image` takes."""

    def _pixels(self, index: int, item: ImageItem) -> NDArray[np.uint8]:
        """The pixels of an image. An error names the frame."""
        try:
            return read_image(item)
        except OSError as error:
            if error.errno is None:
                raise type(error)(f"{self._place(index)}: {error}") from error
            why = f"{error.strerror} ({self._place(index)})"
            raise type(error)(error.errno, why, error.filename) from error
        except (ValueError, TypeError, NotImplementedError, ImportError) as error:
            raise type(error)(f"{self._place(index)}: {error}") from error


class ListFrames(_Images):
    """Frames of a list, an (N, H, W, 3) array or anything else with a length and indices."""

    def __init__(self, images: ImageList, name: str, long_side: int | None) -> None:
        super().__init__(name, long_side)
        self._images = images

    @property
    def count(self) -> int:
        return len(self._images)

    @property
    def count_is_exact(self) -> bool:
        return True

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        if index >= self.count:
            raise FrameNotFound(self.name, index, self.count)
        return self._keep(index, self._pixels(index, self._images[index]))


class CallableFrames(_Images):
    """Frames that a function gives by index. It raises IndexError or returns None beyond the
    end."""

    def __init__(
        self, function: Callable[[int], ImageItem], name: str, long_side: int | None
    ) -> None:
        super().__init__(name, long_side)
        self._function = function
        self._read = 0  # one more than the last index that gave a frame
        self._end: int | None = None

    @property
    def count(self) -> int | None:
        return self._end

    @property
    def count_is_exact(self) -> bool:
        return self._end is not None

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        try:
            item = self._function(index)
        except IndexError:
            item = None
        if item is None:
            if index == self._read:
                self._end = index
            raise FrameNotFound(self.name, index, self._end)
        self._read = max(self._read, index + 1)
        return self._keep(index, self._pixels(index, item))


class IteratorFrames(_Images):
    """Frames of an iterator, which only goes forward.

    The last frames are remembered. A `FrameStore` remembers all of them; every frame then is what
    the store gives back, so that it has the same pixels whenever it is read.
    """

    def __init__(
        self,
        items: Iterator[ImageItem],
        name: str,
        long_side: int | None,
        store: FrameStore | None,
    ) -> None:
        super().__init__(name, long_side)
        self._items, self._store = items, store
        self._hint = operator.length_hint(items, -1)
        self._read = 0
        self._item: tuple[ImageItem] | None = None  # taken, and not yet a frame: Ctrl-C may come
        self._stop: Exception | None = None  # why nothing comes after `_read`

    @property
    def count(self) -> int | None:
        if self.count_is_exact:
            return self._read
        return self._hint if self._hint > self._read else None

    @property
    def count_is_exact(self) -> bool:
        return isinstance(self._stop, FrameNotFound)

    def _fetch(self, index: int) -> NDArray[np.uint8]:
        if index < self._read:
            return self._earlier(index)
        while self._stop is None and self._read <= index:
            try:
                frame = self._taken()
            except StopIteration:
                self._stop = FrameNotFound(self.name, self._read, self._read)
            except Exception as error:
                self._stop = error
        if self._stop is None:
            return frame
        if isinstance(self._stop, FrameNotFound):
            raise FrameNotFound(self.name, index, self._read)
        raise self._stop

    def _taken(self) -> NDArray[np.uint8]:
        """The next frame of the iterator."""
        if self._item is None:
            self._item = (next(self._items),)
        index = self._read
        frame = self._reduced(index, self._pixels(index, self._item[0]))
        if self._store is not None:
            self._store.put(index, frame)
            frame = self._store.get(index)
        self._cache.put(index, frame)
        self._read, self._item = index + 1, None
        return frame

    def _earlier(self, index: int) -> NDArray[np.uint8]:
        if self._store is None:
            raise ValueError(
                f"{self._place(index)}: an iterator only goes forward, and this frame is no longer "
                f"remembered ({self._read} were read); open it with store=FrameStore(), or pass a "
                "list"
            )
        frame = self._store.get(index)
        self._cache.put(index, frame)
        return frame

    def _release(self) -> None:
        if self._store is not None:
            self._store.close()
