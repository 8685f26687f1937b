"""A trace of the engine: what each of its threads did, and when."""

from __future__ import annotations

import json
import os

from segrid._native import _core
from segrid._types import JsonObject


class Trace:
    """Records the work of every thread of the engine during a ``with`` block.

    A second recording at the same time raises ValueError.

    >>> with segrid.Trace("out.json") as trace:
    ...     model.everything("photo.jpg")
    >>> trace.seconds()["sweep"]

    Parameters
    ----------
    path : a file for Chrome's trace format (chrome://tracing, https://ui.perfetto.dev); None: no
        file

    Attributes
    ----------
    events : after the block, a list of (name, begin in ns, duration in ns, index of the prompt or
        tile or -1, thread). Spans of one thread nest: "tokens", "sweep" and "upscale" are inside
        "decode", except where a worker helps with the prompt of another worker, as it does with
        few clicks
    dropped : the number of events beyond a million, which are not kept
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = path
        self.events: list[tuple[str, int, int, int, int]] = []
        self._products: list[dict[str, int]] = []
        self.dropped = 0

    def __enter__(self) -> Trace:
        _core.trace_start()
        return self

    def __exit__(self, *error: object) -> None:
        self.events, self._products, self.dropped = _core.trace_stop()
        if self.path is not None:
            with open(self.path, "w", encoding="utf-8") as file:
                json.dump(self.chrome(), file)

    def seconds(self) -> dict[str, float]:
        """Seconds per name, summed over threads."""
        total: dict[str, float] = {}
        for name, _, duration, _, _ in self.events:
            total[name] = total.get(name, 0.0) + duration * 1e-9
        return total

    def multiply_adds(self) -> dict[str, dict[str, int]]:
        """Multiply-adds of matrix products per name, summed over threads, by the precision of
        their factors: {"mlp": {"int8": 9_000_000_000}}.

        Products of models on devices are not counted.
        """
        total: dict[str, dict[str, int]] = {}
        for (name, *_), products in zip(self.events, self._products, strict=True):
            own = total.setdefault(name, {})
            for precision, count in products.items():
                own[precision] = own.get(precision, 0) + count
        return {name: products for name, products in total.items() if products}

    def at_once(self, name: str) -> int:
        """The most spans of that name that ran at the same time."""
        spans = [(begin, begin + duration) for n, begin, duration, _, _ in self.events if n == name]
        return max(
            (sum(begin <= moment < end for begin, end in spans) for moment, _ in spans), default=0
        )

    def chrome(self) -> JsonObject:
        """The recording in Chrome's trace format (complete events, microseconds)."""
        events: list[JsonObject] = [
            {
                "name": "thread_name",
                "ph": "M",
                "pid": 0,
                "tid": thread,
                "args": {"name": f"engine thread {thread}"},
            }
            for thread in sorted({e[4] for e in self.events})
        ]
        for name, begin, duration, index, thread in self.events:
            event: JsonObject = {
                "name": name,
                "ph": "X",
                "ts": begin / 1e3,
                "dur": duration / 1e3,
                "pid": 0,
                "tid": thread,
            }
            if index >= 0:
                event["args"] = {"index": index}
            events.append(event)
        return {
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": {"dropped": self.dropped},
        }
