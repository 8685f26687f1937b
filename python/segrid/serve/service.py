"""What the requests of one server share: models, images, sessions, jobs, and threads to compute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import Request

from segrid import Cancelled, CancelToken
from segrid.serve.admission import Admission
from segrid.serve.errors import NotFinite, ServiceError, engine_errors
from segrid.serve.images import Images
from segrid.serve.jobs import Jobs
from segrid.serve.logs import in_context
from segrid.serve.metrics import Metrics
from segrid.serve.models import Models
from segrid.serve.sessions import VideoSessions
from segrid.serve.settings import Settings
from segrid.serve.video_session import VideoSession

T = TypeVar("T")
logger = logging.getLogger("segrid.serve")
FILE_THREADS = 4  # that read and write files and make pictures
FRAME_THREADS = 2  # that decode frames of videos


class Service:
    """The state of one server. `start` and `stop` are called on its event loop."""

    def __init__(self, settings: Settings, secret: bytes | None = None) -> None:
        self.settings = settings
        self.models = Models(settings)
        self.images = Images(settings, secret)
        self.metrics = Metrics()
        self.admission = Admission(settings)
        self.jobs = Jobs(settings, self.count_error)
        self.sessions = VideoSessions(settings, self.models, self.jobs)
        self.compute_threads = ThreadPoolExecutor(settings.compute_slots, "segrid-compute")
        self.file_threads = ThreadPoolExecutor(FILE_THREADS, "segrid-files")
        self.frame_threads = ThreadPoolExecutor(FRAME_THREADS, "segrid-pictures")
        self.job_threads = ThreadPoolExecutor(settings.running_jobs, "segrid-jobs")
        self.is_draining = False
        self.streams = 0  # that are open
        self._tokens: set[CancelToken] = set()  # of the requests that compute
        self._draining: asyncio.Future[None] | None = None
        self._add_gauges()

    def _add_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("waiting", "Requests that wait for a slot.", lambda: self.admission.waiting)
        gauge("computing", "Requests that compute.", lambda: self.admission.computing)
        gauge("sessions", "Open video sessions.", lambda: len(self.sessions))
        gauge("images", "Encoded images.", lambda: len(self.images))
        gauge("image_bytes", "Memory of encoded images.", lambda: self.images.bytes)
        gauge("jobs", "Jobs that are pending or running.", lambda: len(self.jobs.active()))
        gauge("streams", "Open event streams and WebSockets.", lambda: self.streams)

    def count_error(self, error: ServiceError) -> None:
        """Counts an error that a caller is told; masks that are not finite are logged, too."""
        self.metrics.errors.labels(error.kind).inc()
        if isinstance(error, NotFinite):
            self.metrics.not_finite.inc()
            logger.error("%s", error.message, extra={"facts": error.facts})

    async def start(self) -> None:
        """Loads the models, and cleans up what a crash left. Raises what loading a model raises."""
        await asyncio.get_running_loop().run_in_executor(None, self.models.load_all)
        await self.sessions.start()

    async def drain(self, seconds: float) -> None:
        """Takes no more work, lets requests and jobs finish, and cancels what is not done in
        time. A second call waits for the first one."""
        if self._draining is None:
            self.is_draining = True
            self._draining = asyncio.ensure_future(self._drain(seconds))
        await asyncio.shield(self._draining)

    async def _drain(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await self.jobs.finish(seconds)
        while self._tokens and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for token in self._tokens:
            token.cancel()

    async def stop(self) -> None:
        """Closes everything."""
        await self.drain(0)
        await self.sessions.stop()
        for threads in (
            self.compute_threads,
            self.file_threads,
            self.frame_threads,
            self.job_threads,
        ):
            threads.shutdown(wait=True, cancel_futures=True)

    async def compute(self, request: Request, work: Callable[..., T], *arguments: object) -> T:
        """Runs `work(*arguments)` on a thread; it is cancelled when the client goes away.

        Errors of the engine become answers.
        """
        return await self.cancellable(request, lambda: self.compute_threads, work, *arguments)

    async def cancellable(
        self,
        request: Request,
        threads: Callable[[], ThreadPoolExecutor],
        work: Callable[..., T],
        *arguments: object,
    ) -> T:
        """Like `compute`, on the threads that `threads()` returns.

        threads : gives them when it is the request's turn, or raises an error for the caller
        """
        gone = asyncio.ensure_future(_wait_for_disconnect(request))
        client = request.client.host if request.client else ""
        try:
            await _unless_gone(gone, asyncio.ensure_future(self.admission.enter(client)))
            begin = time.perf_counter()
            try:
                return await self._run(gone, threads(), work, arguments)
            finally:
                self.admission.leave(time.perf_counter() - begin)
        finally:
            gone.cancel()

    async def in_session(
        self, request: Request, found: VideoSession, work: Callable[..., T], *arguments: object
    ) -> T:
        """Runs a call of a session on its thread. A call that waits for the calls before it takes
        no slot from other sessions.

        Raises ServiceError where a job uses the session, where it was closed while the call waited,
        and where too many calls wait for it.
        """
        found.check_free()
        async with found.turn(self.settings.queue_per_client):
            return await self.cancellable(request, found.free_worker, work, *arguments)

    async def _run(
        self,
        gone: asyncio.Future[None],
        threads: ThreadPoolExecutor,
        work: Callable[..., T],
        arguments: tuple[object, ...],
    ) -> T:
        token = CancelToken()
        self._tokens.add(token)
        run = in_context(_run, token, work, arguments)
        running = asyncio.get_running_loop().run_in_executor(threads, run)
        try:
            await _first_of(running, gone)
            if not running.done():
                token.cancel()
            return await running
        except asyncio.CancelledError:  # the server stops
            token.cancel()
            raise
        finally:
            self._tokens.discard(token)

    async def read(self, work: Callable[..., T], *arguments: object) -> T:
        """Runs `work(*arguments)`, which is short, on a thread for files and pictures."""
        return await asyncio.get_running_loop().run_in_executor(
            self.file_threads, in_context(_run, CancelToken(), work, arguments)
        )

    async def decode(self, work: Callable[..., T], *arguments: object) -> T:
        """`read` for a frame of a video, which may have to decode many frames before it."""
        return await asyncio.get_running_loop().run_in_executor(
            self.frame_threads, in_context(_run, CancelToken(), work, arguments)
        )


def _run(token: CancelToken, work: Callable[..., T], arguments: tuple[object, ...]) -> T:
    if token.cancelled:
        raise Cancelled("the client went away")
    with engine_errors(), token:
        return work(*arguments)


async def _unless_gone(gone: asyncio.Future[None], entering: asyncio.Future[None]) -> None:
    """Waits for a slot. Raises Cancelled where the client goes away first, and what `enter`
    raises."""
    try:
        await _first_of(entering, gone)
        if not entering.done():
            raise Cancelled("the client went away")
    except BaseException:
        entering.cancel()  # it gives back a slot that it was given meanwhile
        raise
    await entering


async def _first_of(one: asyncio.Future[T], other: asyncio.Future[None]) -> None:
    """Waits until one of two is done."""
    done = asyncio.Event()
    for each in (one, other):
        each.add_done_callback(lambda _: done.set())
    await done.wait()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def service_of(request: Request) -> Service:
    """The service of a request's app."""
    service: Service = request.app.state.service
    return service
