"""Shows how far a run through a video is."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType

from rich.console import Console

PAUSE = 5.0  # seconds between two lines where the output is no terminal


class FrameProgress:
    """A line with frames, frames per second and the time that is left, from the start on: one that
    changes on a terminal, else a new one every few seconds. quiet : nothing is shown"""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        self._status = console.status("", spinner="line") if console.is_terminal else None
        self._begin = self._last = 0.0
        self._first = 0

    def begin(self, done: int, total: int | None) -> None:
        """Shows the frames that were done in earlier runs."""
        self._begin, self._first, self._last = perf_counter(), done, 0.0
        self._show(done, total, "")

    def show(self, done: int, total: int | None, objects: int) -> None:
        """Shows the state after a frame."""
        rate = (done - self._first) / max(perf_counter() - self._begin, 1e-9)
        left = "" if total is None else f", {clock((total - done) / rate)} left"
        self._show(done, total, f", {rate:.3g} frames/s{left}, {objects} objects")

    def _show(self, done: int, total: int | None, rest: str) -> None:
        text = f"{done}{'' if total is None else f'/{total}'} frames{rest}"
        if self._quiet:
            return
        if self._status is not None:
            self._status.update(text)
        elif done == total or done <= self._first + 1 or perf_counter() - self._last >= PAUSE:
            self._console.print(text, highlight=False, soft_wrap=True)
            self._last = perf_counter()

    def __enter__(self) -> FrameProgress:
        if self._status is not None and not self._quiet:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()


def clock(seconds: float) -> str:
    """A duration as 0:07 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
