"""A stream of images: some are read while others are computed and written; results in order."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._image import check_many, to_image
from segrid._native import CancelToken, _core, cancel_scope, fair_share, threads
from segrid._types import ImageItem, JsonObject, Options, Progress
from segrid.detections import Detections
from segrid.detector import Detector
from segrid.embedding import Embedding
from segrid.folders.encoding_groups import LARGEST, EncodingGroups, Seat
from segrid.folders.stream_options import PROMPTS, check_options
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
    source : the item of `images`
    result : `Masks` or `Detections`; None where it failed
    error : the exception where it failed, else None
    output : what `consume` returned
    seconds : {"read", "compute", "write"}
    """

    index: int
    source: ImageItem
    result: Masks | Detections | None
    error: Exception | None
    output: Any
    seconds: dict[str, float]


def stream(
    model: Segmenter | Pipeline | Detector | Views | Callable[..., Any],
    images: Iterable[ImageItem],
    *,
    consume: Callable[[Streamed, NDArray[np.uint8]], object] | None = None,
    image_batch_size: int | None = None,
    io_workers: int | None = None,
    in_flight: int | None = None,
    read: Callable[[ImageItem], ImageItem] | None = None,
    options_for: Callable[[ImageItem, NDArray[np.uint8]], Options] | None = None,
    **options: Any,
) -> Iterator[Streamed]:
    """Yields a `Streamed` for each image, in the images' order, as soon as it is done.

    The `Streamed` of a bad image has an `error`, and the stream goes on. Images that the function
    of `Views` leaves out are skipped.

    Parameters
    ----------
    model : a Segmenter (its `everything`), a Pipeline or a Detector (with prompts=... among the
        options), `Views`, or a callable that takes the engine's image
    images : paths, arrays, PIL images or bytes; any iterable, of which at most `in_flight` items
        are taken ahead. A lone image is not accepted: pass [image]
    consume : called with the Streamed (whose output is still None) and the image's pixels, (H, W,
        3) uint8, on one of the stream's threads, so that files are written while other images are
        computed. An exception that it raises becomes the image's error
    image_batch_size : the largest number of images that are computed at once; default: one for
        each thread of the budget. A Segmenter on a device encodes so many consecutive images in one
        call (fewer where its memory does not take them), except with crop layers
    io_workers : the largest number of images that are read or written at once; default: as many as
        are computed. A number that is given adds to `in_flight`
    in_flight : the largest number of images in memory at once; default: one more than are computed,
        or the sum of `image_batch_size` and `io_workers`; where images are encoded together, a
        group more than are computed. Without `image_batch_size` it also caps
        the images that are computed at once
    read : makes an image of an item, on one of the stream's threads; default: `read_image`
    options_for : called with the item and its pixels; returns options for this image alone, such
        as boxes (a Segmenter then runs `predict`)
    options : of `everything`, `Pipeline.__call__` or `Detector.detect`

    Each image has its share of the threads: one, unless `image_batch_size` is smaller than the
    budget. Threads that no other image needs at the moment, as at the end, join in. Results have
    the same bits in all cases, except that images that a device encodes together may differ from
    single ones by rounding. A model's own `threads=` stays the limit.

    Closing the generator, Ctrl-C, and every cancel token whose `with` block the iterating thread is
    in stop all running work at its next tile; nothing more begins.

    Raises ValueError for numbers below 1 and for a value of an option that does not fit, TypeError
    for a lone image and for an option that the model does not have.
    """
    check_many(images)
    check_options(model, options, more_follow=options_for is not None)
    for name, value in (
        ("in_flight", in_flight),
        ("image_batch_size", image_batch_size),
        ("io_workers", io_workers),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name}: must be at least 1, got {value}")
    at_once = image_batch_size or min(threads(), in_flight or threads())
    together = _encodes_together(model, options)
    limits = _Limits(
        computed=at_once,
        read_or_written=io_workers or at_once,
        in_memory=in_flight
        or at_once + max(io_workers or 1, min(at_once, LARGEST) if together else 1),
        together=together,
    )
    calls = _Calls(options, read=read, options_for=options_for, consume=consume)
    view_of = None
    if isinstance(model, Views) and "view" not in options and options_for is None:
        view_of = model.view_of
    return _stream(model, _chosen_images(images, view_of), calls, limits)


def _stream(
    model: Any, images: Iterator[_ChosenImage], calls: _Calls, limits: _Limits
) -> Iterator[Streamed]:
    # As a generator it begins with the first image that is asked for: the tokens that count are
    # those of the thread that iterates.
    yield from _Stream(model, calls, limits).results(images)


@dataclass(frozen=True)
class _Limits:
    """Numbers of images: computed at once, read or written at once, in memory at once. together:
    whether those computed at once are encoded in one call."""

    computed: int
    read_or_written: int
    in_memory: int
    together: bool


@dataclass(frozen=True)
class _Calls:
    """What is called for each image, as `stream` documents it."""

    options: Options
    read: Callable[[ImageItem], ImageItem] | None
    options_for: Callable[[ImageItem, NDArray[np.uint8]], Options] | None
    consume: Callable[[Streamed, NDArray[np.uint8]], object] | None


def _encodes_together(model: Any, options: Options) -> bool:
    layers = options.get("crop_n_layers") or 0  # each crop of a layer is an image of its own
    return isinstance(model, Segmenter) and model.batched and layers == 0


@dataclass(frozen=True)
class _ChosenImage:
    """An image to compute. view : its view as an option, or the error of looking for it."""

    index: int
    source: ImageItem
    view: dict[str, str] | Exception


def _chosen_images(
    images: Iterable[ImageItem], view_of: Callable[[ImageItem], str | None] | None
) -> Iterator[_ChosenImage]:
    """The images that are in a view; all images where there are no views."""
    for index, source in enumerate(images):
        view: dict[str, str] | Exception = {}
        if view_of is not None:
            try:
                name = view_of(source)
            except Exception as error:  # it belongs to this image, the others go on
                view = error
            else:
                if name is None:
                    continue
                view = {"view": name}
        yield _ChosenImage(index, source, view)


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

    def after_encoding(self, progress: Progress | None) -> Progress:
        """A function for `progress=` that gives memory back after each encoding."""
        before, began = "", 0.0

        def forward(state: JsonObject) -> None:
            nonlocal before, began
            if before == "encode" != state["stage"] and perf_counter() - began > LONG_ENCODING:
                _core.give_back_memory()
            if before != state["stage"]:
                before, began = state["stage"], perf_counter()
            if progress is not None:
                progress(state)

        return forward


def _compute(
    model: Any,
    pixels: _core.Image,
    embedding: Embedding | None,
    options: Options,
    give_back: _MemoryReturn,
) -> Any:
    """embedding : of the pixels, where they are encoded already"""
    if isinstance(model, Segmenter):
        prompted = options.keys() & PROMPTS
        if not prompted:
            options = options | {"progress": give_back.after_encoding(options.get("progress"))}
            if options.get("crop_n_layers"):
                embedding = None
        call = model.predict if prompted else model.everything
        if embedding is None:
            return call(pixels, **options)
        return call(embedding, **options).over(pixels)
    return (
        model.detect(pixels, **options) if isinstance(model, Detector) else model(pixels, **options)
    )


class _Stream:
    """One run of `stream`: what its threads share."""

    def __init__(self, model: Any, calls: _Calls, limits: _Limits) -> None:
        self._model, self._calls, self._limits = model, calls, limits
        self._share = max(1, threads() // limits.computed)
        self._scopes, self._stop = CancelToken.scopes(), CancelToken()
        self._computing = threading.Semaphore(limits.computed)
        self._files = threading.Semaphore(limits.read_or_written)
        self._give_back = _MemoryReturn()
        self._groups: EncodingGroups | None = None
        if limits.together:
            self._groups = EncodingGroups(
                self._encode, min(limits.computed, limits.in_memory, LARGEST)
            )

    def results(self, images: Iterator[_ChosenImage]) -> Iterator[Streamed]:
        """The images in order, each as soon as it is done."""
        waiting: deque[Future[Streamed]] = deque()
        size = self._limits.in_memory
        with ThreadPoolExecutor(size, thread_name_prefix="segrid-stream") as pool:
            try:
                for image in images:
                    seat = None if self._groups is None else self._groups.seat()
                    waiting.append(pool.submit(self._process, image, seat))
                    if len(waiting) >= size:
                        yield self._done(waiting.popleft())
                if self._groups is not None:
                    self._groups.close()
                while waiting:
                    yield self._done(waiting.popleft())
            finally:
                self._stop.cancel()
                if self._groups is not None:
                    self._groups.abandon()
                pool.shutdown(cancel_futures=True)

    def _done(self, future: Future[Streamed]) -> Streamed:
        one = future.result()
        with cancel_scope(self._scopes):  # raises Cancelled, so that nothing stopped is yielded
            return one

    def _process(self, image: _ChosenImage, seat: Seat | None) -> Streamed:
        """Reads, computes and writes an image, on one of the pool's threads."""
        seconds: dict[str, float] = {}
        result: Any = None
        output: Any = None
        error: Exception | None = None
        index, source, view = image.index, image.source, image.view
        try:
            if isinstance(view, Exception):
                raise view
            with self._step(self._files, seconds, "read"):
                pixels = to_image(source if self._calls.read is None else self._calls.read(source))
            embedding, encoding = (None, 0.0) if seat is None else seat.encoded(pixels)
            with self._computing, self._cancellable(), _timed(seconds, "compute"):
                options = self._options(source, view, pixels)
                with fair_share(self._share):
                    result = _compute(self._model, pixels, embedding, options, self._give_back)
            seconds["compute"] += encoding
            if self._calls.consume is not None:
                unwritten = Streamed(index, source, result, None, None, seconds)
                with self._step(self._files, seconds, "write"):
                    output = self._calls.consume(unwritten, pixels.array)
        except Exception as raised:  # of this image; KeyboardInterrupt is the main thread's
            error, result = raised, None
        finally:
            if seat is not None:
                seat.leave()
        self._give_back()
        return Streamed(index, source, result, error, output, seconds)

    def _encode(self, images: list[_core.Image]) -> list[Embedding]:
        with self._cancellable():
            return self._model.encode_batch(images)

    def _options(self, source: ImageItem, view: dict[str, str], pixels: _core.Image) -> Options:
        own = self._calls.options_for
        return self._calls.options | view | ({} if own is None else own(source, pixels.array))

    def _cancellable(self) -> contextlib.AbstractContextManager[None]:
        return cancel_scope([*self._scopes, self._stop])

    @contextlib.contextmanager
    def _step(
        self, turn: threading.Semaphore, seconds: dict[str, float], name: str
    ) -> Iterator[None]:
        with turn, self._cancellable(), _timed(seconds, name):
            yield


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = perf_counter()
    try:
        yield
    finally:
        seconds[name] = perf_counter() - begin
