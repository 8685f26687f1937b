"""Jobs run in the background, tell their progress, and can be cancelled and listened to."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from segrid import Cancelled, CancelToken
from segrid._types import JsonObject
from segrid.serve.errors import ServiceError, not_found
from segrid.serve.logs import in_context
from segrid.serve.settings import Settings

logger = logging.getLogger("segrid.serve")
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
Outcome = tuple[Status, JsonObject | None, JsonObject | None]  # status, result, error
FINAL = ("completed", "failed", "cancelled")


class Event(NamedTuple):
    """One event of a job. kind : "progress", "masks" or "end"; data : JSON, or what the job gives
    for "masks"."""

    number: int
    kind: str
    data: Any


@dataclass(eq=False)
class Job:
    """A job and its numbered events, from 1. One thread works on it, any may read it.

    held : about the bytes of its result and of the masks in its events
    """

    kind: str
    session_id: str | None = None
    job_id: str = field(default_factory=lambda: secrets.token_hex(16))
    status: Status = "pending"
    done: int = 0
    total: int | None = None
    result: JsonObject | None = None
    error: JsonObject | None = None
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    completed_at: float | None = None
    ended: float | None = None  # by the clock that nobody sets
    held: int = 0
    token: CancelToken = field(default_factory=CancelToken)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.finished = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    def json(self) -> JsonObject:
        """The job as the API gives it."""
        until = self.completed_at or time.time()
        seconds = 0.0 if self.started_at is None else until - self.started_at
        rate = self.done / seconds if seconds > 0 and self.done else None
        left = None if self.total is None or self.is_over else max(0, self.total - self.done)
        whole = 100.0 if self.status == "completed" else 0.0
        if self.total and self.status != "completed":
            whole = min(100.0, 100.0 * self.done / self.total)
        return {
            "job_id": self.job_id,
            "kind": self.kind,
            "session_id": self.session_id,
            "status": self.status,
            "progress": whole,
            "done": self.done,
            "total": self.total,
            "rate": rate,
            "eta_s": None if left is None or rate is None else left / rate,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "result": self.result,
            "error": self.error,
        }

    def advance(self, done: int, total: int | None) -> None:
        """Notes the progress and tells it. Any thread may call it."""
        self.done, self.total = done, total
        self.tell("progress", self.json())

    def tell(self, kind: str, data: Any) -> None:
        """Adds an event and wakes those who listen. Any thread may call it."""
        with self._lock:
            self._events.append(Event(len(self._events) + 1, kind, data))
            if kind == "masks":
                self.held += sum(len(record.rle["counts"]) for record in data[1].values())
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed, and nobody listens
            pass

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def events_after(self, number: int) -> list[Event]:
        """The events with a larger number, in order."""
        with self._lock:
            return self._events[max(0, number) :]

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """The events after a number, those that are there and those to come, to the end."""
        while True:
            news = self._news
            for event in self.events_after(after):
                after = event.number
                yield event
                if event.kind == "end":
                    return
            if self.is_over and not self.events_after(after):
                return
            if news is self._news:
                await news.wait()


class Jobs:
    """The jobs of the service. `running_jobs` of them run at once, in the order in which they were
    started; finished ones are kept for `job_timeout`, unless they are too many or too large.

    told : is called with the errors of jobs, on any thread
    """

    def __init__(self, settings: Settings, told: Callable[[ServiceError], None]) -> None:
        self._settings, self._told = settings, told
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[Outcome]] = {}
        self._slots = asyncio.Semaphore(settings.running_jobs)

    def get(self, job_id: str) -> Job:
        """The job of an id. Raises ServiceError where there is none."""
        if (job := self._jobs.get(job_id)) is None:
            raise not_found()
        return job

    def all(self) -> list[Job]:
        return list(self._jobs.values())

    def active(self) -> list[Job]:
        """The jobs that are pending or running."""
        return [job for job in self._jobs.values() if not job.is_over]

    def start(self, job: Job, work: Callable[[Job], JsonObject], executor: Executor) -> Job:
        """Runs `work(job)` on the executor when a slot is free; what it returns is the result.

        Raises ServiceError where too many jobs are pending.
        """
        pending = sum(other.status == "pending" for other in self._jobs.values())
        if pending >= self._settings.pending_jobs:
            raise ServiceError(
                429,
                "too_many_jobs",
                f"{pending} jobs are pending; the limit is {self._settings.pending_jobs} "
                "(pending_jobs)",
                setting="pending_jobs",
                retry_after=5,
            )
        self._jobs[job.job_id] = job
        task = asyncio.create_task(self._outcome(job, work, executor))
        self._tasks[job.job_id] = task
        task.add_done_callback(lambda done: self._finish(job, done))
        return job

    async def _outcome(
        self, job: Job, work: Callable[[Job], JsonObject], executor: Executor
    ) -> Outcome:
        async with self._slots:
            job.status, job.started_at = "running", time.time()
            job.advance(job.done, job.total)
            return await asyncio.get_running_loop().run_in_executor(
                executor, in_context(self._done, work, job)
            )

    def _done(self, work: Callable[[Job], JsonObject], job: Job) -> Outcome:
        """Status, result and error of a run."""
        try:
            if job.token.cancelled:
                return "cancelled", None, None
            result = work(job)
            job.held += len(json.dumps(result))
            return "completed", result, None
        except Cancelled:
            return "cancelled", None, None
        except ServiceError as error:
            self._told(error)
            return "failed", None, error.body["error"]
        except Exception:
            logger.exception("job %s failed", job.job_id)
            return "failed", None, {"kind": "internal", "message": "an error inside the service"}

    def _finish(self, job: Job, task: asyncio.Task[Outcome]) -> None:
        if task.cancelled() or task.exception() is not None:  # pending, or the threads are gone
            job.status = "cancelled"
        else:
            job.status, job.result, job.error = task.result()
        job.completed_at, job.ended = time.time(), time.monotonic()
        del self._tasks[job.job_id]
        job.tell("end", job.json())
        job.finished.set()
        self.forget_old()

    def cancel(self, job: Job) -> None:
        """Cancels a job that is not over: it stops at the next tile of its computation."""
        if not job.is_over:
            job.token.cancel()
            if job.status == "pending" and (task := self._tasks.get(job.job_id)) is not None:
                task.cancel()

    def forget_old(self) -> None:
        """Forgets finished jobs that are too old, and the oldest of those that are too many or too
        large. The last one that has finished is not too large."""
        over = sorted((job for job in self.all() if job.is_over), key=lambda job: -(job.ended or 0))
        oldest = time.monotonic() - self._settings.job_timeout
        held = 0
        for place, job in enumerate(over):
            held += job.held
            is_surplus = place >= self._settings.kept_jobs
            is_large = place > 0 and held > self._settings.jobs_bytes
            if is_surplus or is_large or (job.ended or 0) < oldest:
                del self._jobs[job.job_id]

    def forget_session(self, session_id: str) -> None:
        """Forgets the finished jobs of a session that is closed."""
        for job in self.all():
            if job.session_id == session_id and job.is_over:
                del self._jobs[job.job_id]

    async def finish(self, seconds: float) -> None:
        """Waits for the jobs, at most so long; then cancels what is left, and waits for that."""
        for wait in (seconds, None):
            if tasks := list(self._tasks.values()):
                await asyncio.wait(tasks, timeout=wait)
            for job in self.active():
                self.cancel(job)
