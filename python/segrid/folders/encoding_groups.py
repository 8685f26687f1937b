"""Images of a stream that one call encodes together, for segmenters on a device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter

from segrid._native import _core
from segrid.embedding import Embedding

LARGEST = 16  # images of a group; the engine encodes no more at once (engine/batches.h)

Encode = Callable[[list[_core.Image]], list[Embedding]]


class EncodingGroups:
    """Groups of `size` consecutive images. The threads of a group wait until all of its images are
    read; one of them then encodes the group.

    Every image gets a seat, in the stream's order, and leaves it with pixels or without.
    """

    def __init__(self, encode: Encode, size: int) -> None:
        self.encode, self.size = encode, size
        self.changed = threading.Condition()
        self.abandoned = False
        self._group = _Group()

    def seat(self) -> Seat:
        """The next image's seat."""
        with self.changed:
            group = self._group
            group.seats += 1
            if group.seats == self.size:
                self._fill()
        return Seat(self, group)

    def close(self) -> None:
        """No more images come: the last group is smaller."""
        with self.changed:
            self._fill()

    def abandon(self) -> None:
        """The stream stops: nobody waits for a group any more."""
        with self.changed:
            self.abandoned = True
            self.changed.notify_all()

    def _fill(self) -> None:
        self._group.full = True
        self._group = _Group()
        self.changed.notify_all()


class _Group:
    """seats, left: the images so far, and those of them whose reading is over. full: whether no
    more seats are given. begun, done: whether a thread encodes it, and whether that is over.
    seconds: what encoding took for each image."""

    def __init__(self) -> None:
        self.seats = self.left = 0
        self.full = self.begun = self.done = False
        self.pixels: dict[Seat, _core.Image] = {}
        self.embeddings: dict[Seat, Embedding] = {}
        self.seconds = 0.0

    def ready(self) -> bool:
        return self.full and self.left == self.seats and not self.begun


class Seat:
    """An image's place in its group."""

    def __init__(self, groups: EncodingGroups, group: _Group) -> None:
        self._groups, self._group, self._left = groups, group, False

    def leave(self) -> None:
        """The image is not encoded with its group: it could not be read. Later calls do nothing."""
        with self._groups.changed:
            self._leave()

    def encoded(self, pixels: _core.Image) -> tuple[Embedding | None, float]:
        """Waits for the group. Returns the image's embedding, and its part of the seconds that
        encoding took.

        Where the group could not be encoded the embedding is None: the image must then be encoded
        alone, so that an error is the error of one image.
        """
        group, changed = self._group, self._groups.changed
        with changed:
            group.pixels[self] = pixels
            self._leave()
            changed.wait_for(lambda: self._groups.abandoned or group.done or group.ready())
            if group.done or self._groups.abandoned:
                return group.embeddings.pop(self, None), group.seconds
            group.begun = True
        try:
            self._encode()
        finally:
            with changed:
                group.done = True
                changed.notify_all()
        return group.embeddings.pop(self, None), group.seconds

    def _encode(self) -> None:
        group = self._group
        begin = perf_counter()
        try:
            found = self._groups.encode(list(group.pixels.values()))
        except Exception:  # each image alone shows whose error it is
            return
        finally:
            seats = list(group.pixels)
            group.pixels.clear()
        group.seconds = (perf_counter() - begin) / len(found)
        group.embeddings = dict(zip(seats, found, strict=True))

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._group.left += 1
            self._groups.changed.notify_all()
