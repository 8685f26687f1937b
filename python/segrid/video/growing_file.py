"""A file to which frames are added one by one."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO, TypeVar

from segrid._files import atomic_write

Own = TypeVar("Own", bound="GrowingFile")


class GrowingFile(ABC):
    """It is written beside its place and gets there when it is closed; an exception in its `with`
    block drops it. Its folder is made. An OSError names the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.fsdecode(path))
        self._place = ExitStack()
        self._part = self._place.enter_context(atomic_write(self.path))
        self._closed = False

    @abstractmethod
    def _finish(self) -> None:
        """Writes what comes at the end, and closes the file that is written."""

    @abstractmethod
    def _drop(self) -> None:
        """Closes the file that is written, which is not used."""

    @contextmanager
    def _or_gone(self) -> Iterator[None]:
        """A block whose errors remove the file that is written, and name the one that was asked
        for."""
        try:
            yield
        except BaseException:
            if not self._place.__exit__(*sys.exc_info()):
                raise

    def _open_text(self) -> TextIO:
        """Opens the file that is written, for UTF-8 with lines that end as they are given."""
        with self._or_gone():
            file = open(self._part, "w", encoding="utf-8", newline="")
        return file

    def close(self) -> None:
        """Completes the file. A second call does nothing. Raises OSError."""
        if self._closed:
            return
        self._closed = True
        with self._or_gone():
            self._finish()
        self._place.close()

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._closed = True
            with suppress(OSError):
                self._drop()
            self._place.__exit__(kind, error, trace)
