"""Many images: read, computed and written at once, results in order."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from segrid._image import to_image
from segrid._native import CancelToken, _core, cancel_scope, threads
from segrid.detections import Detections
from segrid.detector import Detector
from segrid.folders.views import Views
from segrid.pipeline import Pipeline
from segrid.results import Masks
from segrid.segmenter import Segmenter

GIVE_BACK_INTERVAL = 0.1  # seconds
LONG_ENCODING = 0.02  # seconds of an encoding, many times what giving its pages back costs


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


def stream(
    model: Segmenter | Pipeline | Detector | Views | Callable[..., Any],
    images: Iterable[Any],
    *,
    consume: Callable[[Streamed, Any], Any] | None = None,
    image_batch_size: int | None = None,
    io_workers: int | None = None,
    in_flight: int | None = None,
    read: Callable[[Any], Any] | None = None,
    options_for: Callable[[Any, Any], dict[str, Any]] | None = None,
    **options: Any,
) -> Iterator[Streamed]:
    """Yields a `Streamed` for each image, in the images' order, as soon as it is done.

    For a bad image the `Streamed` has an `error`, and the others go on. Images that the function of
    `Views` leaves out are skipped.

    Parameters
    ----------
    model : a Segmenter (its `everything`), a Pipeline or a Detector (with prompts=... among the
        options), `Views`, or a callable that takes the engine's image
    images : paths, arrays, PIL images or bytes; any iterable, read as far ahead as `in_flight`
        says. A lone image is not accepted: pass [image]
    consume : called with the Streamed (whose output is None yet) and the image's pixels ((H, W, 3)
        uint8) on one of the threads at work, so that files are written beside the computing; what
        it raises becomes the image's error
    image_batch_size : most images computed at once; default: one for each thread of the budget
    io_workers : most images read or written at once; default: as many as are computed. Given, so
        many are held beside those that are computed
    in_flight : most images in memory at once; default: one more than are computed, or the sum of
        both numbers. With `image_batch_size` not given it caps the images computed at once, too
    read : makes an image of what was given, on one of those threads; default: `read_image`
    options_for : called with what was given and the pixels: options for this image alone, such
        as boxes (with a Segmenter they go to `predict` then)
    options : of `everything`, `Pipeline.__call__` or `Detector.detect`

    While more images wait than are computed at once, each image has its part of the threads (one,
    unless `image_batch_size` is smaller than the budget), which wastes nothing. The last images
    share the threads that are free. Results have the same bits either way. A model's own `threads=`
    is kept.

    Three things stop all that runs in the engine at its next tile, and begin nothing more: closing
    the generator, Ctrl-C, and every token whose `with` the iterating thread is in.

    Raises ValueError for numbers below 1, TypeError for a lone image.
    """
    _check_many(images)
    for name, value in (
        ("in_flight", in_flight),
        ("image_batch_size", image_batch_size),
        ("io_workers", io_workers),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name}: must be at least 1, got {value}")
    at_once = image_batch_size or min(threads(), in_flight or threads())
    view_of = (
        model.view_of
        if isinstance(model, Views) and "view" not in options and options_for is None
        else None
    )
    chosen = _chosen(images, view_of)
    held = in_flight or at_once + (io_workers or 1)
    return _stream(
        model,
        chosen,
        consume,
        at_once,
        io_workers or at_once,
        held,
        read or (lambda source: source),
        options_for or (lambda *_: {}),
        options,
    )


def _check_many(images: Any) -> None:
    """Raises TypeError for a lone image.

    Its characters, bytes, rows or lines would be taken for many images. Arrays and columns of
    paths, or of objects, are many.
    """
    lone = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(
        images, "read"
    )
    kind = getattr(getattr(images, "dtype", None), "kind", "f")  # of no array of NumPy's: numbers
    flat = hasattr(images, "shape") and getattr(images, "ndim", 4) <= 3 and kind in "biufc"
    if (
        lone
        or flat
        or not hasattr(type(images), "__iter__")
        and not hasattr(type(images), "__getitem__")
    ):
        got = f"an array of shape {tuple(images.shape)}" if flat else type(images).__name__
        raise TypeError(
            f"images: expected a list or another iterable of images, got {got}; pass [image]"
            + (", or list(array) for a stack of gray images" if flat else "")
        )


# An image's index, its source, and its view as an option, or why there is none.
_ChosenImage = tuple[int, Any, dict[str, Any] | Exception]


def _chosen(
    images: Iterable[Any], view_of: Callable[[Any], str | None] | None
) -> Iterator[_ChosenImage]:
    """The images that are in a view; all images where there are no views."""
    for index, source in enumerate(images):
        view: dict[str, Any] | Exception = {}
        if view_of is not None:
            try:
                name = view_of(source)
            except Exception as error:  # it is this image's
                view = error
            else:
                if name is None:
                    continue
                view = {"view": name}
        yield index, source, view


def _capped(model: Any, share: int) -> Any:
    """The model, whose calls use its part of the threads."""
    if isinstance(model, (Segmenter, Detector)):
        return model.capped(share)
    return model.with_threads(share) if isinstance(model, (Pipeline, Views)) else model


class _MemoryReturn:
    """Gives free pages back to the system.

    After an image (at most every GIVE_BACK_INTERVAL seconds) these are the free pages between the
    images' memory, which glibc would keep for ever. After an encoding they are the encoder's
    memory, which would be idle while the image is decoded.
    """

    def __init__(self) -> None:
        self._last, self._lock = perf_counter(), threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            late = perf_counter() - self._last > GIVE_BACK_INTERVAL
            self._last = perf_counter() if late else self._last
        if late:
            _core.give_back_memory()

    def after_encoding(
        self, progress: Callable[[dict[str, Any]], Any] | None
    ) -> Callable[[dict[str, Any]], None]:
        """A function for `progress=` that gives memory back after each encoding."""
        before, began = "", 0.0

        def told(state: dict[str, Any]) -> None:
            nonlocal before, began
            if before == "encode" != state["stage"] and perf_counter() - began > LONG_ENCODING:
                _core.give_back_memory()
            if before != state["stage"]:
                before, began = state["stage"], perf_counter()
            if progress is not None:
                progress(state)

        return told


def _compute(model: Any, pixels: Any, options: dict[str, Any], give_back: _MemoryReturn) -> Any:
    if isinstance(model, Segmenter):
        if options.keys() & {"boxes", "points", "mask_hints"}:
            return model.predict(pixels, **options)
        return model.everything(
            pixels, **options | {"progress": give_back.after_encoding(options.get("progress"))}
        )
    return (
        model.detect(pixels, **options) if isinstance(model, Detector) else model(pixels, **options)
    )


def _stream(
    model: Any,
    images: Iterator[_ChosenImage],
    consume: Any,
    at_once: int,
    io_workers: int,
    in_flight: int,
    read: Any,
    options_for: Any,
    options: dict[str, Any],
) -> Iterator[Streamed]:
    capped_model, scopes = _capped(model, max(1, threads() // at_once)), CancelToken.scopes()
    cancel, lock, computing, files = (
        CancelToken(),
        threading.Lock(),
        threading.Semaphore(at_once),
        threading.Semaphore(io_workers),
    )
    give_back = _MemoryReturn()
    waiting: deque[Future[Streamed]] = deque()
    left, exhausted = 0, False  # images that are begun or wait; no more come

    def work(index: int, source: Any, view: dict[str, Any] | Exception) -> Streamed:
        nonlocal left
        seconds: dict[str, float] = {}
        result: Any = None
        output: Any = None
        error: Exception | None = None
        try:
            if isinstance(view, Exception):
                raise view
            with files, cancel_scope([*scopes, cancel]), _timed(seconds, "read"):
                pixels = to_image(read(source))
            with computing, cancel_scope([*scopes, cancel]):
                with lock:
                    few = exhausted and left < at_once
                with _timed(seconds, "compute"):
                    result = _compute(
                        model if few else capped_model,
                        pixels,
                        options | view | options_for(source, pixels.array),
                        give_back,
                    )
            if consume is not None:
                with files, cancel_scope([*scopes, cancel]), _timed(seconds, "write"):
                    output = consume(
                        Streamed(index, source, result, None, None, seconds), pixels.array
                    )
        except Exception as raised:  # this image's; KeyboardInterrupt is the main thread's
            error, result = raised, None
        with lock:
            left -= 1
        give_back()
        return Streamed(index, source, result, error, output, seconds)

    def done() -> Streamed:
        one = waiting.popleft().result()
        with cancel_scope(scopes):  # raises Cancelled rather than yield what was stopped
            return one

    with ThreadPoolExecutor(in_flight, thread_name_prefix="segrid-stream") as pool:
        try:
            for one in images:
                with lock:
                    left += 1
                waiting.append(pool.submit(work, *one))
                if len(waiting) >= in_flight:
                    yield done()
            with lock:
                exhausted = True
            while waiting:
                yield done()
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
