"""Jobs: status, cancelling, and their events as they come."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from segrid.serve.job_events import event_stream
from segrid.serve.service import service_of
from segrid.serve.v1.schemas import JobAnswer, errors

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=errors())


@router.get("/{job_id}", response_model=JobAnswer)
async def get_job(request: Request, job_id: str) -> Any:
    """The state of a job."""
    return service_of(request).jobs.get(job_id).json()


@router.delete("/{job_id}", response_model=JobAnswer)
async def cancel_job(request: Request, job_id: str) -> Any:
    """Cancels a job; it stops at the next tile of its computation. What it found stays."""
    jobs = service_of(request).jobs
    job = jobs.get(job_id)
    jobs.cancel(job)
    return job.json()


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **errors()},
)
async def events(
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """The events of a job as server-sent events, from the first one after a number: `progress` (the
    job), `masks` (a frame with its masks), `end` (the job). After a lost connection, Last-Event-ID
    goes on where it was."""
    job = service_of(request).jobs.get(job_id)
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        after = max(after, int(last_event_id[:18]))
    return StreamingResponse(
        event_stream(job, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
