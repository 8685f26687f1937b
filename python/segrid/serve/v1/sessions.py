"""Video sessions: open, add and refine objects, follow them, read what was found, keep and close.

While a job follows the objects of a session, its masks, frames, facts and names can be asked for;
calls that change it are refused with 409 `busy` and the job's id.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError
from starlette.background import BackgroundTask

from segrid._types import JsonObject
from segrid.serve.errors import ServiceError, invalid
from segrid.serve.mask_formats import mask_json
from segrid.serve.service import service_of
from segrid.serve.session_calls import SessionCalls, WrittenFile
from segrid.serve.uploads import media_type
from segrid.serve.v1.schemas import (
    AddAnswer,
    AddBody,
    ChangeBody,
    Frame,
    FrameMasksAnswer,
    JobStarted,
    MasksForm,
    ObjectAnswer,
    OpenBody,
    PropagateBody,
    SessionAnswer,
    errors,
)
from segrid.serve.v1.upload_schemas import OCTETS, LongSide, upload_of

router = APIRouter(prefix="/sessions", tags=["sessions"], responses=errors())
FrameNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]
ObjectNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]


def _calls(request: Request) -> SessionCalls:
    return SessionCalls(service_of(request), request)


@router.post(
    "",
    status_code=201,
    response_model=SessionAnswer,
    responses=errors(403, 415),
    openapi_extra=upload_of("video", "video/*", body=OpenBody),
)
async def open_session(
    request: Request,
    model: Annotated[str | None, Query(max_length=200)] = None,
    image_side: Annotated[int | None, Query(ge=1)] = None,
) -> JsonObject:
    """Opens a video: an upload, or JSON with a path below the media root. The parameters model and
    image_side are those of an upload."""
    if media_type(request.headers) != "application/json":
        return (await _calls(request).open_upload(model, image_side)).json()
    try:
        body = OpenBody.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise ServiceError(400, "not_json", "the body is not JSON") from error
        raise invalid(f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from error
    return (await _calls(request).open_path(body)).json()


@router.get("/{session_id}", response_model=SessionAnswer)
async def get_session(request: Request, session_id: str) -> JsonObject:
    """The session with its objects."""
    return service_of(request).sessions.get(session_id).json()


@router.delete("/{session_id}", status_code=204, response_class=Response)
async def close_session(request: Request, session_id: str) -> None:
    """Closes a session: a running job is cancelled, and its files are removed."""
    sessions = service_of(request).sessions
    await sessions.close(sessions.get(session_id))


@router.post("/{session_id}/objects", response_model=AddAnswer, responses=errors(409))
async def add_object(request: Request, session_id: str, body: AddBody) -> JsonObject:
    """Prompts an object in a frame; again refines it."""
    facts, _, record = await _calls(request).add(session_id, body)
    return {
        "object_id": body.object_id,
        "name": facts.name,
        "category": facts.category,
        "color": list(facts.color),
        "frame": body.frame,
        **mask_json(record, body.format),
    }


@router.patch("/{session_id}/objects/{object_id}", response_model=ObjectAnswer)
async def change_object(
    request: Request, session_id: str, object_id: ObjectNumber, body: ChangeBody
) -> JsonObject:
    """Changes name, category or colour of an object."""
    return _calls(request).change(session_id, object_id, body.name, body.category, body.color)


@router.delete(
    "/{session_id}/objects/{object_id}",
    status_code=204,
    response_class=Response,
    responses=errors(409),
)
async def remove_object(request: Request, session_id: str, object_id: ObjectNumber) -> None:
    """Removes an object with its masks."""
    await _calls(request).remove(session_id, object_id)


@router.delete(
    "/{session_id}/objects/{object_id}/prompts",
    status_code=204,
    response_class=Response,
    responses=errors(409),
)
async def clear_prompts(
    request: Request, session_id: str, object_id: ObjectNumber, frame: Annotated[Frame, Query()]
) -> None:
    """Takes back the prompts of an object in a frame; the mask stays until objects are followed
    again."""
    await _calls(request).clear(session_id, object_id, frame)


@router.post("/{session_id}/reset", status_code=204, response_class=Response, responses=errors(409))
async def reset(request: Request, session_id: str) -> None:
    """Removes all objects."""
    await _calls(request).reset(session_id)


@router.post(
    "/{session_id}/propagate", status_code=202, response_model=JobStarted, responses=errors(409)
)
async def propagate(request: Request, session_id: str, body: PropagateBody) -> JsonObject:
    """Starts a job that follows all objects."""
    job = _calls(request).propagate(session_id, body)
    return {"job_id": job.job_id, "status": job.status}


@router.get(
    "/{session_id}/frames/{frame}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **errors()},
)
async def get_frame(
    request: Request, session_id: str, frame: FrameNumber, long_side: LongSide = None
) -> Response:
    """A frame as a JPEG, not larger than the long side in pixels."""
    content = await _calls(request).picture(session_id, frame, long_side)
    return Response(content, media_type="image/jpeg")


@router.get("/{session_id}/frames/{frame}/masks", response_model=FrameMasksAnswer)
async def get_masks(
    request: Request, session_id: str, frame: FrameNumber, format: MasksForm = "rle"
) -> JsonObject:
    """The masks of a frame that was prompted or followed."""
    return await _calls(request).frame_masks(session_id, frame, format)


@router.get(
    "/{session_id}/snapshot",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": OCTETS}}, **errors(409)},
)
async def get_snapshot(request: Request, session_id: str) -> FileResponse:
    """Everything of the session but its video, as one file; `Tracker.restore` reads it, too."""
    return file_response(await _calls(request).snapshot(session_id))


@router.post(
    "/{session_id}/snapshot",
    response_model=SessionAnswer,
    responses=errors(409, 415),
    openapi_extra=upload_of("snapshot"),
)
async def put_snapshot(request: Request, session_id: str) -> JsonObject:
    """Goes on from a snapshot of the same video, in place of what the session holds."""
    return (await _calls(request).take_up(session_id)).json()


@router.get(
    "/{session_id}/export",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/json": {},
                "text/csv": {},
                "application/zip": OCTETS,
                "video/mp4": OCTETS,
            }
        },
        **errors(409),
    },
)
async def export(
    request: Request, session_id: str, format: Literal["coco", "csv", "png", "overlay"] = "coco"
) -> FileResponse:
    """All masks as one file: COCO run lengths (JSON), a table (CSV), label pictures (zip of PNGs),
    or a video with the objects drawn on it (MP4)."""
    return file_response(await _calls(request).export(session_id, format))


def file_response(file: WrittenFile) -> FileResponse:
    """A file that is sent and then removed."""
    remove = BackgroundTask(file.folder.cleanup)
    return FileResponse(file.path, media_type=file.media_type, background=remove)
