"""The prompts and objects that sessions of files and of cameras share."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from segrid._native import _core
from segrid._types import Options
from segrid.results import Masks
from segrid.video.object_prompt import Prompt
from segrid.video.tracked_frame import TrackedFrame

UNKNOWN_LENGTH = 1 << 40  # frames of a video that does not tell how many it has


class Objects:
    """The prompts and objects that sessions of files and of cameras share. One thread at a time may
    use a session."""

    def __init__(
        self, engine: _core.Segmenter, size: tuple[int, int], count: int, options: Options
    ) -> None:
        unknown = sorted(options.keys() - _core.Session.options().keys())
        if unknown:
            raise TypeError(
                f"session: unknown option {unknown[0]!r}; the options are "
                f"{', '.join(_core.Session.options())}"
            )
        self._engine = engine
        self._options = dict(options)
        self._native = _core.Session(engine, size, count, options)
        self._owner = threading.Lock()
        self.names: dict[int, str] = {}
        self.categories: dict[int, int] = {}

    @property
    def ids(self) -> list[int]:
        """The objects, in the order in which they were added."""
        with self._owned("ids"):
            return self._native.ids

    @contextmanager
    def _owned(self, call: str) -> Iterator[None]:
        """A block that one thread at a time may run."""
        if not self._owner.acquire(blocking=False):
            raise RuntimeError(
                f"{call}: another thread uses this session; a session has one owner at a time. "
                "Open a session for each thread, or take turns with a lock"
            )
        try:
            yield
        finally:
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
