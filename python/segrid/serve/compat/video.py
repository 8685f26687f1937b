"""The video service that exists: FastAPI around SAM 2, on port 8002, for labelling videos.

Its front end needs another address only. What differs: videos are opened below `media_root` only;
a third session is refused with 503 and not 500; a call to a session whose masks are being
propagated is refused with 409, where the original computes with both."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from segrid import Cancelled
from segrid._types import JsonObject
from segrid.serve.compat import video_schemas as schemas
from segrid.serve.compat.video_sessions import ServiceSessions, add, follow, refined, runs_of
from segrid.serve.compat.video_settings import VideoServiceSettings
from segrid.serve.errors import ServiceError
from segrid.serve.jobs import Job
from segrid.serve.mask_formats import MaskRecord, formatted, read_mask
from segrid.serve.media import media_path
from segrid.serve.service import Service, service_of
from segrid.serve.video_session import Origin, VideoSession

NAME = "SAM 2 Video Annotation Service"
JOB = "propagate_masks"
router = APIRouter()


class VideoService:
    """The service as a part of the server, below `prefix`."""

    prefix = "/compat/video"

    def __init__(self, service: Service, own: VideoServiceSettings | None = None) -> None:
        own = own or VideoServiceSettings.from_environment()
        self.sessions = ServiceSessions(service.settings, own, service.models, service.jobs)
        self.app = FastAPI(title=NAME, version="2.0.0")
        self.app.state.service, self.app.state.sessions = service, self.sessions
        self.app.state.own = own
        self.app.include_router(router)
        add_handlers(self.app)

    async def start(self) -> None:
        """Loads the model, and watches for idle sessions."""
        await asyncio.get_running_loop().run_in_executor(None, self.sessions.load)
        await self.sessions.start()

    async def stop(self) -> None:
        """Closes all sessions."""
        await self.sessions.stop()


def _sessions(request: Request) -> ServiceSessions:
    sessions: ServiceSessions = request.app.state.sessions
    return sessions


def _session(request: Request, session_id: str, status: int = 400) -> VideoSession:
    """The session of an id. Raises HTTPException."""
    try:
        return _sessions(request).get(session_id)
    except ServiceError as error:
        raise HTTPException(status, f"Session not found: {session_id}") from error


def _in_frame(request: Request, asked: schemas.InFrame) -> VideoSession:
    """The session of a call about a frame. Raises HTTPException."""
    session = _session(request, asked.session_id)
    if asked.frame_idx >= (session.engine.count or 0):
        raise HTTPException(400, f"Invalid frame index: {asked.frame_idx}")
    return session


def _with_object(request: Request, asked: schemas.Prompt) -> VideoSession:
    """The session of a call about an object that must be there. Raises HTTPException."""
    session = _in_frame(request, asked)
    if asked.object_id not in session.objects:
        raise HTTPException(400, f"Object not found: {asked.object_id}")
    return session


@router.get("/")
@router.get("/health")
async def health(request: Request) -> schemas.Health:
    """Whether the service answers, and how many sessions are open."""
    sessions = _sessions(request)
    return schemas.Health(
        message=NAME,
        status="healthy" if sessions.has_model else "unhealthy",
        model_loaded=sessions.has_model,
        timestamp=time.time(),
        active_sessions=len(sessions),
    )


@router.post("/initialize")
async def initialize(request: Request, asked: schemas.Initialize) -> schemas.Initialized:
    """Opens a video below the server's media root. 404 where it is not there."""
    service, sessions = service_of(request), _sessions(request)
    try:
        path = media_path(service.settings.media_root, asked.video_path)
    except ServiceError as error:
        if error.status != 404:
            raise
        raise HTTPException(404, f"Video not found: {asked.video_path}") from error
    origin = Origin(path, False, sessions.model_name(), None)
    async with sessions.place() as place:
        session = await sessions.open(
            place, origin, lambda work, of: service.compute(request, work, of)
        )
    sessions.named[session.session_id] = asked.video_path
    height, width = session.engine.size
    return schemas.Initialized(
        session_id=session.session_id,
        video_path=asked.video_path,
        total_frames=session.engine.count or 0,
        frame_width=width,
        frame_height=height,
        fps=session.engine.rate or 0.0,
    )


@router.get("/session/{session_id}")
async def status(request: Request, session_id: str) -> schemas.SessionStatus:
    """The state of a session."""
    session = _session(request, session_id, status=404)
    frames = session.frames_with_masks()
    return schemas.SessionStatus(
        session_id=session_id,
        video_path=_sessions(request).named[session_id],
        total_frames=session.engine.count or 0,
        objects=[
            schemas.ObjectOfSession(
                object_id=number,
                name=facts.name or "",
                category=str(facts.category or ""),
                color=list(facts.color),
                frames_with_masks=len(frames.get(number, [])),
            )
            for number, facts in list(session.objects.items())  # the worker changes them
        ],
        created_at=session.created_at,
        last_accessed=session.last_used,
        idle_time=session.idle_s,
    )


@router.post("/session/close")
async def close(request: Request, asked: schemas.Close) -> schemas.Closed:
    """Closes a session; its job is cancelled."""
    session = _session(request, asked.session_id, status=404)
    await _sessions(request).close(session)
    return schemas.Closed(message="Session closed successfully", session_id=asked.session_id)


@router.post("/cleanup")
async def cleanup(request: Request, later: BackgroundTasks) -> schemas.Message:
    """Closes the sessions that are idle for too long, after the answer."""
    later.add_task(_sessions(request).close_idle)
    return schemas.Message(message="Cleanup task scheduled")


@router.post("/add-object")
async def add_object(request: Request, asked: schemas.AddObject) -> schemas.AddedObject:
    """A new object, by points."""
    return await _added(request, asked)


@router.post("/add-object-box")
async def add_object_box(request: Request, asked: schemas.AddObjectBox) -> schemas.AddedObject:
    """A new object, by a box."""
    return await _added(request, asked)


async def _added(
    request: Request, asked: schemas.AddObject | schemas.AddObjectBox
) -> schemas.AddedObject:
    session = _in_frame(request, asked)
    record, facts = await service_of(request).in_session(request, session, add, session, asked)
    return schemas.AddedObject(
        object_id=asked.object_id,
        frame_idx=asked.frame_idx,
        mask=await _png(request, record),
        name=facts.name or "",
        category=str(facts.category or ""),
        color=list(facts.color),
    )


@router.post("/refine")
async def refine(request: Request, asked: schemas.Refine) -> schemas.MaskOfObject:
    """Corrects an object in a frame, by points."""
    session = _with_object(request, asked)
    return await _changed(request, session, asked, points=asked.points, labels=asked.labels)


@router.post("/update-mask")
async def update_mask(request: Request, asked: schemas.UpdateMask) -> schemas.MaskOfObject:
    """Puts a mask in place of an object's in a frame."""
    session = _with_object(request, asked)
    size = session.engine.size
    mask = await service_of(request).read(read_mask, "mask", asked.mask, size)
    return await _changed(request, session, asked, mask=mask)


async def _changed(
    request: Request, session: VideoSession, asked: schemas.Prompt, **prompt: object
) -> schemas.MaskOfObject:
    record = await service_of(request).in_session(
        request, session, lambda: refined(session, asked.object_id, asked.frame_idx, **prompt)
    )
    return schemas.MaskOfObject(
        object_id=asked.object_id, frame_idx=asked.frame_idx, mask=await _png(request, record)
    )


@router.post("/frame-masks")
async def frame_masks(request: Request, asked: schemas.FrameMasks) -> schemas.MasksOfFrame:
    """The masks of a frame; none where nothing was found in it yet."""
    session = _in_frame(request, asked)
    return (await service_of(request).read(_of_frames, session, [asked.frame_idx]))[0]


@router.post("/propagate")
async def propagate(
    request: Request,
    asked: schemas.Propagate,
    wait: Annotated[bool, Query(description="Answers with all masks when the job has ended.")] = (
        False
    ),
) -> schemas.JobAccepted | schemas.Propagated:
    """Follows the objects in the background: the answer names a job to ask for.

    With `wait`, the answer is the older form of the service: all masks of the frames that were
    followed.
    """
    service, session = service_of(request), _session(request, asked.session_id)
    session.check_free()
    if not session.objects:
        raise HTTPException(400, "No objects to propagate")
    # On the session's thread, which may still be adding an object.
    frames_with_prompts = await asyncio.get_running_loop().run_in_executor(
        session.worker, lambda: session.engine.prompted_frames
    )
    session.check_free()  # since then a job may have begun
    runs = runs_of(asked, frames_with_prompts, session.engine.count or 0)

    def work(job: Job) -> JsonObject:
        try:
            return follow(session, job, runs)
        finally:
            service.metrics.frames.inc(job.done)

    session.job = job = service.jobs.start(Job(JOB, session.session_id), work, session.worker)
    if not wait:
        return schemas.JobAccepted(
            job_id=job.job_id,
            status="pending",
            message=f"Propagation job submitted. Poll /job/{job.job_id}/status for progress.",
        )
    while not job.is_over:
        try:
            await asyncio.wait_for(job.finished.wait(), 0.5)
        except asyncio.TimeoutError:
            if await request.is_disconnected():
                service.jobs.cancel(job)
    if job.result is None:
        raise HTTPException(500, _error_of(job) or "the propagation was cancelled")
    frames = await service.read(_of_frames, session, job.result["followed"])
    return schemas.Propagated(
        session_id=session.session_id, total_frames=job.result["total_frames"], frames=frames
    )


@router.get("/job/{job_id}/status")
async def job_status(request: Request, job_id: str) -> schemas.JobStatus:
    """The state of a job."""
    missing = HTTPException(404, f"Job not found: {job_id}")
    try:
        job = service_of(request).jobs.get(job_id)
    except ServiceError as error:
        raise missing from error
    if job.kind != JOB:
        raise missing
    return schemas.JobStatus(
        job_id=job.job_id,
        job_type=job.kind,
        status="failed" if job.status == "cancelled" else job.status,
        progress=job.json()["progress"],
        created_at=_iso(job.created_at) or "",
        started_at=_iso(job.started_at),
        completed_at=_iso(job.completed_at),
        result=None if job.result is None else schemas.JobResult(**job.result),
        error=_error_of(job),
    )


def _error_of(job: Job) -> str | None:
    if job.status == "cancelled":
        return "the job was cancelled"
    return None if job.error is None else str(job.error["message"])


def _iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, without a zone as in the original."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None).isoformat()


async def _png(request: Request, record: MaskRecord) -> str:
    return await service_of(request).read(_as_png, record)


def _as_png(record: MaskRecord) -> str:
    return str(formatted(record.rle, "png"))


def _of_frames(session: VideoSession, frames: list[int]) -> list[schemas.MasksOfFrame]:
    """The masks of frames as PNG. It takes some time."""
    return [
        schemas.MasksOfFrame(
            frame_idx=frame,
            masks={
                number: _as_png(record)
                for number, record in (session.frame_masks(frame) or {}).items()
            },
        )
        for frame in frames
    ]


def add_handlers(app: FastAPI) -> None:
    """Errors as the service gives them, {"detail": text}: 400 for values that do not fit, and 503
    beyond the cap on sessions, named as the service names it."""

    @app.exception_handler(ServiceError)
    async def of_service(request: Request, error: ServiceError) -> JSONResponse:
        service_of(request).count_error(error)
        status, text = {415: 400, 422: 400}.get(error.status, error.status), error.message
        if error.kind == "frame_not_found":
            status = 400
        if error.kind == "too_many_sessions":
            most = app.state.own.max_sessions
            status = 503
            text = (
                f"Maximum concurrent sessions ({most}) reached (MAX_CONCURRENT_SESSIONS). Close a "
                "session, or wait until one times out"
            )
        return JSONResponse({"detail": text}, status, error.headers)

    @app.exception_handler(Cancelled)
    async def of_cancelling(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the service stops"}, 503, {"Retry-After": "5"})
