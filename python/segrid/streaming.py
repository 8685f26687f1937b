"""Many images: read, computed and written at once, results in order."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from segrid._image import to_image
from segrid._native import CancelToken, threads
from segrid.detections import Detections
from segrid.detector import Detector
from segrid.pipeline import Pipeline
from segrid.results import Masks
from segrid.segmenter import Segmenter


@dataclass(frozen=True)
class Streamed:
    """One image of a stream.

    Attributes
    ----------
    index : its place among the images, from 0
    source : what was given for it
    result : `Masks` or `Detections`; None where it failed
    error : why it failed, or None
    output : what `consume` returned
    seconds : {"read", "compute", "write"}
    """

    index: int
    source: Any
    result: Masks | Detections | None
    error: Exception | None
    output: Any
    seconds: dict[str, float]


def stream(model: Segmenter | Pipeline | Detector | Callable[[Any], Any], images: Iterable[Any], *, consume: Callable[[Streamed, Any], Any] | None = None,
           in_flight: int | None = None, read: Callable[[Any], Any] | None = None, options_for: Callable[[Any, Any], dict[str, Any]] | None = None,
           **options: Any) -> Iterator[Streamed]:
    """Yields a `Streamed` for each image, in the images' order, as soon as it is done; a bad image is one with an `error`, the others go on.

    Parameters
    ----------
    model : a Segmenter (its `everything`), a Pipeline or a Detector (with prompts=... among the options), or a callable that takes the engine's image
    images : paths, arrays, PIL images or bytes; any iterable, read as far ahead as `in_flight` says
    consume : called with the Streamed (whose output is None yet) and the image's pixels ((H, W, 3) uint8) on one of the threads at work, so that files are written
        beside the computing; what it raises becomes the image's error
    in_flight : most images in memory at once; default: one for each thread of the budget and one more that is read or written meanwhile
    read : makes an image of what was given, on one of those threads; default: `read_image`
    options_for : called with what was given and the pixels: options for this image alone, such as boxes (with a Segmenter they go to `predict` then)
    options : of `everything`, `Pipeline.__call__` or `Detector.detect`

    While more images wait than the budget has threads, each image is computed by one of them, which wastes nothing; the last ones share what is free. Results have
    the same bits either way. Closing the generator (or Ctrl-C) stops segment everything at its next tile; what a Pipeline, a Detector or a function has begun ends
    first. Raises ValueError for in_flight below 1.
    """
    if in_flight is not None and in_flight < 1:
        raise ValueError(f"in_flight: must be at least 1, got {in_flight}")
    return _stream(model, iter(images), consume, in_flight or threads() + 1, read or (lambda source: source), options_for or (lambda *_: {}), options)


def _alone(model: Any) -> Any:
    """The model, computing on one thread."""
    if isinstance(model, (Segmenter, Detector)):
        return model.with_threads(1)
    if isinstance(model, Pipeline):
        detector = model.detector.with_threads(1) if isinstance(model.detector, Detector) else model.detector
        return Pipeline(detector, model.segmenter.with_threads(1))
    return model


def _compute(model: Any, pixels: Any, options: dict[str, Any], cancel: CancelToken) -> Any:
    if isinstance(model, Segmenter) and options.keys() & {"boxes", "points", "mask_hints"}:
        return model.predict(pixels, **options)
    if isinstance(model, Segmenter):
        return model.everything(pixels, cancel=cancel, **options)
    if isinstance(model, Detector):
        return model.detect(pixels, **options)
    return model(pixels, **options)


def _stream(model: Any, images: Iterator[Any], consume: Any, in_flight: int, read: Any, options_for: Any, options: dict[str, Any]) -> Iterator[Streamed]:
    alone, cancel, lock = _alone(model), CancelToken(), threading.Lock()
    waiting: deque[Future[Streamed]] = deque()
    left, exhausted = 0, False  # images that are begun or wait; no more come

    def work(index: int, source: Any) -> Streamed:
        nonlocal left
        seconds: dict[str, float] = {}
        result: Any = None
        output: Any = None
        error: Exception | None = None
        with lock:
            few = exhausted and left < threads()
        try:
            with _timed(seconds, "read"):
                pixels = to_image(read(source))
            with _timed(seconds, "compute"):
                result = _compute(model if few else alone, pixels, options | options_for(source, pixels.array), cancel)
            if consume is not None:
                with _timed(seconds, "write"):
                    output = consume(Streamed(index, source, result, None, None, seconds), pixels.array)
        except Exception as raised:  # of this image; KeyboardInterrupt is the main thread's
            error, result = raised, None
        with lock:
            left -= 1
        return Streamed(index, source, result, error, output, seconds)

    with ThreadPoolExecutor(in_flight, thread_name_prefix="segrid-stream") as pool:
        try:
            for index, source in enumerate(images):
                with lock:
                    left += 1
                waiting.append(pool.submit(work, index, source))
                if len(waiting) >= in_flight:
                    yield waiting.popleft().result()
            with lock:
                exhausted = True
            while waiting:
                yield waiting.popleft().result()
        finally:
            cancel.cancel()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = perf_counter()
    try:
        yield
    finally:
        seconds[name] = perf_counter() - begin
