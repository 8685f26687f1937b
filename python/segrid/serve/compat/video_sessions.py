"""The sessions of the video service: with its caps, its time-out, its model and its frames."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

from segrid import Tracker
from segrid._types import JsonObject
from segrid.compat.squashed_frames import known_count
from segrid.serve.compat.video_frames import FirstFrames
from segrid.serve.compat.video_schemas import AddObject, AddObjectBox, Propagate
from segrid.serve.compat.video_settings import VideoServiceSettings
from segrid.serve.errors import NotFinite, ServiceError, engine_errors
from segrid.serve.jobs import Job, Jobs
from segrid.serve.mask_formats import MaskRecord
from segrid.serve.models import Models
from segrid.serve.sessions import VideoSessions
from segrid.serve.settings import Settings
from segrid.serve.video_session import ObjectFacts, Origin, VideoSession
from segrid.video.runs import Direction
from segrid.video.session import Session
from segrid.video.sources import open_frames

COLOURS = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 128, 0),
    (128, 0, 255),
)


class ServiceSessions(VideoSessions):
    """The sessions of the video service, beside those of the API."""

    def __init__(
        self, settings: Settings, own: VideoServiceSettings, models: Models, jobs: Jobs
    ) -> None:
        kept = replace(
            settings,
            max_sessions=own.max_sessions,
            session_timeout=own.session_timeout,
            state_dir="",  # a temporary folder: these sessions have no files
            restore=False,
        )
        super().__init__(kept, models, jobs)
        self._own = own
        self._tracker: Tracker | None = None
        self._loading = threading.Lock()
        self.named: dict[str, str] = {}  # the path of a session's video, as the caller gave it

    async def close(self, found: VideoSession, *, keep_files: bool = False) -> None:
        self.named.pop(found.session_id, None)
        await super().close(found, keep_files=keep_files)

    @property
    def has_model(self) -> bool:
        """Whether there is a model that follows objects."""
        return self._own.model is not None or bool(self._models.trackers)

    def model_name(self) -> str:
        """The name of the model, for `Origin`. Raises ServiceError where there is none."""
        return self._own.model or self._models.default_tracker()

    def load(self) -> None:
        """Loads the model, where there is one. Raises what loading it raises."""
        if self.has_model:
            self.tracker()

    def tracker(self) -> Tracker:
        """The model of the service: the server's, or one of its own."""
        with self._loading:
            if self._tracker is None:
                self._tracker = self._made()
        return self._tracker

    def _made(self) -> Tracker:
        own = self._own
        if own.model is None and own.precision is None and own.device is None:
            shared = self._models.tracker()
            return shared if own.threads is None else shared.with_threads(own.threads)
        model = own.model or self._models.trackers[self._models.default_tracker()]
        return Tracker(
            model,
            device=own.device or self._settings.device,
            precision=own.precision or self._settings.precision,
            threads=own.threads,
        )

    def _opened(self, origin: Origin) -> Session:
        with engine_errors():
            frames = open_frames(origin.path)
            try:
                first = FirstFrames(frames, self._own.max_frames, self._own.max_dimension)
                known_count(first)
                return self.tracker().open(
                    first, max_objects=self._settings.max_objects, **self._own.options
                )
            except BaseException:
                frames.close()
                raise


# What follows uses the engine's session: it runs on the session's worker.


def add(session: VideoSession, asked: AddObject | AddObjectBox) -> tuple[MaskRecord, ObjectFacts]:
    """Adds an object, or takes other clicks in place of those that it has in this frame."""
    name = asked.name or f"Object {asked.object_id}"
    prompt = (
        {"boxes": asked.box}
        if isinstance(asked, AddObjectBox)
        else {"points": asked.points, "labels": asked.labels}
    )
    found = _prompted(session, asked.object_id, asked.frame_idx, **prompt)
    facts = session.objects.get(asked.object_id)
    if facts is None:
        colour = COLOURS[len(session.objects) % len(COLOURS)]
        facts = session.describe(asked.object_id, name, asked.category or "")
        facts.color = colour
    else:
        session.describe(asked.object_id, name, asked.category or "")
    facts.prompted.add(asked.frame_idx)
    return found, facts


def refined(session: VideoSession, object_id: int, frame: int, **prompt: object) -> MaskRecord:
    """The mask of a known object after a prompt, which is one of `Session.add`.

    Raises ServiceError where the object is gone.
    """
    if (facts := session.objects.get(object_id)) is None:
        raise ServiceError(400, "invalid", f"Object not found: {object_id}")
    found = _prompted(session, object_id, frame, **prompt)
    facts.prompted.add(frame)
    return found


def _prompted(session: VideoSession, object_id: int, frame: int, **prompt: object) -> MaskRecord:
    """The mask of an object after a prompt. Like sam2, it drops the clicks that the object has in
    this frame."""
    return session.prompt(object_id, frame, replace=True, **prompt)[object_id]


@dataclass(frozen=True)
class Run:
    """A run of `Session.propagate`."""

    direction: Direction
    start: int
    frames: int


def runs_of(asked: Propagate, prompted_frames: list[int], count: int) -> list[Run]:
    """The runs that find masks in the frames from `start_frame` to `end_frame`: forward from the
    first prompted frame, backward from the last one, or from the first one in both directions.

    Raises ServiceError where the range holds no frame.
    """
    first, last = asked.start_frame or 0, count - 1
    if asked.end_frame is not None:
        last = min(asked.end_frame, last)
    if first > last:
        raise ServiceError(400, "invalid", f"Invalid frame range: {first} to {last}")
    anchor = prompted_frames[-1] if asked.direction == "backward" else prompted_frames[0]
    anchor = min(max(anchor, first), last)
    runs = []
    if asked.direction != "backward":
        runs.append(Run("forward", anchor, last - anchor))
    if asked.direction != "forward" and anchor > first:
        runs.append(Run("backward", anchor, anchor - first))
    return runs


def follow(session: VideoSession, job: Job, runs: list[Run]) -> JsonObject:
    """Carries out the runs, telling the job. Returns its result, with the frames that were
    followed.

    Raises ServiceError, Cancelled; what was found before stays.
    """
    followed: set[int] = set()
    total = sum(run.frames for run in runs) + 1
    for index in _steps(session, job, runs):
        followed.add(index)
        job.advance(len(followed), total)
    return {
        "session_id": session.session_id,
        "total_frames": session.engine.count,
        "object_ids": session.engine.ids,
        "followed": sorted(followed),
    }


def _steps(session: VideoSession, job: Job, runs: list[Run]) -> Iterator[int]:
    for run in runs:
        frame, step = run.start, -1 if run.direction == "backward" else 1
        try:
            with engine_errors():
                for tracked in session.engine.propagate(
                    run.direction, start=run.start, frames=run.frames, cancel=job.token
                ):
                    session.note(tracked)
                    session.use()
                    frame = tracked.index + step
                    yield tracked.index
        except NotFinite as error:
            if error.facts:
                raise
            raise NotFinite(frame, session.engine.ids) from error
