"""What the service tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and gauges of one server, in a registry of its own.

    requests : answered requests by method, route and status
    seconds : their times by route
    errors : errors that callers were told, by kind
    not_finite : masks that were refused because they hold no finite numbers
    frames : frames that jobs followed
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "segrid_serve_requests",
            "Answered requests.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "segrid_serve_request_seconds",
            "Times from a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.errors = Counter(
            "segrid_serve_errors", "Errors that callers were told.", ["kind"], registry=registry
        )
        self.not_finite = Counter(
            "segrid_serve_masks_not_finite",
            "Masks that were refused because they are not finite.",
            registry=registry,
        )
        self.frames = Counter(
            "segrid_serve_frames", "Frames of videos that were followed.", registry=registry
        )

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Adds a number that is read when it is asked for."""
        Gauge(f"segrid_serve_{name}", meaning, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self._registry)
