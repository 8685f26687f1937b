"""Collects the warnings of reading an image, for the image's record."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Notes:
    """Collects UserWarnings of each thread. While a `listening` block runs, the warnings that a
    thread raises in its own `collected` block go into that block's list and not to stderr. All
    other warnings are shown as usual. Only one `listening` block can run at a time."""

    def __init__(self) -> None:
        self._own = threading.local()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listens during the whole run, because the filters and the hook of Python's warnings
        belong to the process."""
        with warnings.catch_warnings():
            # Many images may raise the same warning.
            warnings.simplefilter("always", UserWarning)
            usual = warnings.showwarning

            def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
                into = getattr(self._own, "into", None)
                if into is None or not issubclass(category, UserWarning):
                    usual(message, category, *where, **more)
                else:
                    into.append(str(message))

            warnings.showwarning = show
            yield

    @contextmanager
    def collected(self) -> Iterator[list[str]]:
        """The notes of this thread in this block."""
        found: list[str] = []
        self._own.into = found
        try:
            yield found
        finally:
            self._own.into = None
