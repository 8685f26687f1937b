"""How far a run through a video is."""

from __future__ import annotations

from time import perf_counter

from segrid._types import Progress


class Told:
    """Counts frames and tells how far a run is."""

    def __init__(self, total: int | None, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done, self._begin = 0, perf_counter()

    def next(self) -> str:
        self._done += 1
        elapsed = perf_counter() - self._begin
        rate = self._done / max(elapsed, 1e-9)
        whole = "" if self._total is None else f"/{self._total}"
        text = f"{self._done}{whole} frames ({rate:.3g} frames/s)"
        if self._progress is not None:
            self._progress(
                {
                    "stage": "track",
                    "done": self._done,
                    "total": self._total,
                    "elapsed": elapsed,
                    "frames_per_second": rate,
                    "text": text,
                }
            )
        return text
