"""Jobs: status, cancelling, and their events as they come."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from segrid._types import JsonObject
from segrid.serve.errors import ServiceError
from segrid.serve.job_events import counted_stream, event_message, event_stream
from segrid.serve.jobs import Job
from segrid.serve.limits import SUBPROTOCOL
from segrid.serve.service import Service, service_of
from segrid.serve.v1.schemas import JobAnswer, errors

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=errors())


@router.get("/{job_id}", response_model=JobAnswer)
async def get_job(request: Request, job_id: str) -> JsonObject:
    """The state of a job."""
    return service_of(request).jobs.get(job_id).json()


@router.delete("/{job_id}", response_model=JobAnswer)
async def cancel_job(request: Request, job_id: str) -> JsonObject:
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
    service = service_of(request)
    job = service.jobs.get(job_id)
    with counted_stream(service):
        pass  # it raises here, before the answer begins, where too many are open
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        after = max(after, int(last_event_id[:18]))
    return StreamingResponse(
        event_stream(service, job, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.websocket("/{job_id}/stream")
async def stream(socket: WebSocket, job_id: str, after: int = 0) -> None:
    """The same events as messages: `masks` are binary (`masks_message`), the others JSON."""
    service: Service = socket.app.state.service
    asked = socket.headers.get("sec-websocket-protocol", "").split(",")
    chosen = next((p.strip() for p in asked if p.strip().startswith(SUBPROTOCOL)), None)
    try:
        job = service.jobs.get(job_id)
        with counted_stream(service):
            await socket.accept(chosen)
            await _send_until_gone(socket, job, max(0, after))
    except ServiceError as error:
        await socket.close(1008, error.kind)


async def _send_until_gone(socket: WebSocket, job: Job, after: int) -> None:
    sending = asyncio.ensure_future(_send_events(socket, job, after))
    gone = asyncio.ensure_future(_wait_until_gone(socket))
    try:
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and sending.exception() is None:
            await socket.close()
    finally:
        sending.cancel()
        gone.cancel()


async def _send_events(socket: WebSocket, job: Job, after: int) -> None:
    async for event in job.events(after):
        message = event_message(event)
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_text(message)


async def _wait_until_gone(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_bytes()  # a caller has nothing to say
    except (WebSocketDisconnect, KeyError):
        return
