"""The prompts and objects that sessions of files and of cameras share."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsIndex

import numpy as np

from segrid._native import _core
from segrid._types import Options
from segrid.results import Masks
from segrid.video.object_prompt import Prompt
from segrid.video.tracked_frame import TrackedFrame

UNKNOWN_LENGTH = 1 << 40  # frames of a video that does not tell how many it has
LARGEST = 2**63 - 1  # of the engine's numbers


class Objects:
    """The prompts and objects that sessions of files and of cameras share. One thread at a time may
    use a session."""

    def __init__(
        self, engine: _core.Segmenter, size: tuple[int, int], count: int, options: Options
    ) -> None:
        self._engine = engine
        self._options = _plain(options)
        self._native = _core.Session(engine, size, count, self._options)
        self._owner = threading.Lock()
        self._owner_is = ("", 0)  # the call, and its thread
        self._takes_turns = self._closed = False
        self.names: dict[int, str] = {}
        self.categories: dict[int, int] = {}

    @property
    def ids(self) -> list[int]:
        """The objects, in the order in which they were added."""
        with self._owned("ids"):
            return self._native.ids

    def take_turns(self) -> None:
        """From now on a call waits for another thread's call, instead of raising RuntimeError."""
        self._takes_turns = True

    @property
    def max_objects(self) -> int:
        """The most objects, an option of the session."""
        most = self._options.get("max_objects", _core.Session.options()["max_objects"])
        assert most is not None, "it has a default"
        return int(most)

    @contextmanager
    def _owned(self, call: str, *, waits: bool = False) -> Iterator[None]:
        """A block that one thread at a time may run.

        waits : for the call of another thread, unless that is the same call
        """
        if not self._owner.acquire(blocking=False):
            other, thread = self._owner_is
            waits = self._takes_turns or (waits and other != call)
            if thread == threading.get_ident():
                raise RuntimeError(
                    f"{call}: called from within {other} of the same session, as a function that "
                    f"gives frames may do; call it after {other} has returned"
                )
            if not waits:
                raise RuntimeError(
                    f"{call}: another thread uses this session; a session has one owner at a time. "
                    "Open a session for each thread, call take_turns(), or use a lock"
                )
            self._owner.acquire()
        self._owner_is = (call, threading.get_ident())
        try:
            if self._closed and call != "close":
                raise ValueError(f"{call}: this session is closed; open another one")
            yield
        finally:
            self._owner_is = ("", 0)
            self._owner.release()

    def _prompt(
        self, id: int, frame: int, embedding: _core.Embedding, prompt: Prompt
    ) -> TrackedFrame:
        manner = prompt.manner.options()
        if prompt.mask is not None:
            found = self._native.add_mask(id, frame, embedding, prompt.mask, manner)
        else:
            found = self._native.add(
                id, frame, embedding, prompt.points, prompt.labels, prompt.box, manner
            )
        return self._frame(found)

    def _name(self, id: int, name: str | None, category: int | None) -> None:
        if name is not None:
            self.names[id] = name
        if category is not None:
            self.categories[id] = operator.index(category)

    def _frame(
        self, found: tuple[int, list[int], _core.MaskSet], progress: str = ""
    ) -> TrackedFrame:
        index, ids, masks = found
        names = {id: self.names[id] for id in ids if id in self.names}
        return TrackedFrame(index, ids, Masks(masks), names, progress)

    def _forget_names(self) -> None:
        for known in (self.names, self.categories):
            for id in known.keys() - set(self._native.ids):
                del known[id]


def object_id(id: SupportsIndex) -> int:
    """The number of an object. Raises ValueError for one that the engine cannot hold."""
    number = operator.index(id)
    if not -LARGEST <= number <= LARGEST:
        raise ValueError(f"id: must be a number of 64 bits, got {number}")
    return number


def _plain(options: Options) -> Options:
    """The options with values of Python's own types, which a snapshot can hold. Raises TypeError
    for unknown names, ValueError for values of another kind."""
    known = _core.Session.options()
    plain: Options = {}
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"session: unknown option {name!r}; the options are {', '.join(known)}")
        if isinstance(known[name], bool):
            if not isinstance(value, np.bool_) and value not in (0, 1):
                raise ValueError(f"{name}: must be True or False, got {value!r}")
            plain[name] = bool(value)
        elif value is None and known[name] is None:
            plain[name] = None
        elif isinstance(value, SupportsIndex) and abs(operator.index(value)) <= LARGEST:
            plain[name] = operator.index(value)
        else:
            raise ValueError(f"{name}: must be a whole number, got {value!r}")
    return plain
