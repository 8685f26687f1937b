"""What the session calls of every interface do."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from fastapi import Request

from segrid._types import JsonObject
from segrid.serve.errors import ServiceError, invalid, not_found
from segrid.serve.jobs import Job
from segrid.serve.mask_formats import (
    Form,
    MaskRecord,
    jpeg,
    label_map,
    mask_json,
    read_mask,
)
from segrid.serve.media import media_path
from segrid.serve.service import Service
from segrid.serve.sessions import Place
from segrid.serve.uploads import receive
from segrid.serve.v1.schemas import AddBody, OpenBody, PropagateBody, Rle
from segrid.serve.video_session import FrameMasks, ObjectFacts, Origin, VideoSession, object_json

T = TypeVar("T")
UPLOADED_SNAPSHOT = "taken-up.safetensors"


class SessionCalls:
    """The calls of one request."""

    def __init__(self, service: Service, request: Request) -> None:
        self._service, self._request = service, request

    async def open_path(self, body: OpenBody) -> VideoSession:
        """Opens a video below the media root. Raises ServiceError."""
        origin = self._origin(body.model, body.image_side)
        path = media_path(self._service.settings.media_root, body.path)
        async with self._service.sessions.place() as place:
            return await self._open(place, Origin(path, False, *origin))

    async def open_upload(self, model: str | None, image_side: int | None) -> VideoSession:
        """Opens the video that the request uploads. Raises ServiceError."""
        origin = self._origin(model, image_side)
        async with self._service.sessions.place() as place:
            with open(place.video, "wb") as file:
                await receive(self._request, "video", "video", file)
            return await self._open(place, Origin(place.video, True, *origin))

    def _origin(self, model: str | None, image_side: int | None) -> tuple[str, int | None]:
        """The model's name and the side of its square. Raises ServiceError."""
        name = model or self._service.models.default_tracker()
        self._service.models.tracker(name, image_side)
        return name, image_side

    async def _open(self, place: Place, origin: Origin) -> VideoSession:
        return await self._service.sessions.open(
            place, origin, lambda work, of: self._service.compute(self._request, work, of)
        )

    async def call(self, found: VideoSession, work: Callable[..., T], *arguments: object) -> T:
        """Runs a call of the engine's session on its thread. Raises ServiceError where a job uses
        it, or where it was closed while the call waited."""
        return await self._service.in_session(self._request, found, work, *arguments)

    async def add(
        self, session_id: str, body: AddBody
    ) -> tuple[ObjectFacts, FrameMasks, MaskRecord]:
        """Prompts an object. Returns its facts, the frame's masks and its own mask."""
        found = self._service.sessions.get(session_id)
        known = found.objects.keys() | {body.object_id}
        if len(known) > self._service.settings.max_objects:
            raise invalid(
                f"object_id: the session has {len(found.objects)} objects; the limit is "
                f"{self._service.settings.max_objects} (max_objects)",
                setting="max_objects",
            )
        return await self.call(found, self._added, found, body)

    def _added(
        self, found: VideoSession, body: AddBody
    ) -> tuple[ObjectFacts, FrameMasks, MaskRecord]:
        mask = None
        if body.mask is not None:
            given = body.mask.model_dump() if isinstance(body.mask, Rle) else body.mask
            mask = read_mask("mask", given, found.engine.size)
        if body.frame >= self._service.settings.video_frames:
            raise invalid(
                f"frame: the limit is {self._service.settings.video_frames} frames (video_frames)",
                setting="video_frames",
            )
        masks = found.prompt(
            body.object_id,
            body.frame,
            points=body.points,
            labels=body.labels,
            boxes=body.box,
            mask=mask,
            replace=body.replace,
        )
        facts = found.describe(body.object_id, body.name, body.category)
        facts.prompted.add(body.frame)
        return facts, masks, masks[body.object_id]

    def change(
        self,
        session_id: str,
        number: int,
        name: str | None,
        category: str | int | None,
        color: list[int] | None,
    ) -> JsonObject:
        """Changes what is said of an object; also while a job runs."""
        found = self.session_of_object(session_id, number)
        rgb = None if color is None else (color[0], color[1], color[2])
        facts = found.change(number, name, category, rgb)
        return object_json(number, facts, found.frames_with_masks().get(number, []))

    def session_of_object(self, session_id: str, number: int) -> VideoSession:
        """The session, where it has the object. Raises ServiceError."""
        found = self._service.sessions.get(session_id)
        if number not in found.objects:
            raise not_found()
        return found

    async def remove(self, session_id: str, number: int) -> None:
        """Removes an object."""
        found = self.session_of_object(session_id, number)
        await self.call(found, found.drop_object, number)

    async def clear(self, session_id: str, number: int, frame: int) -> None:
        """Takes back the prompts of an object in a frame."""
        found = self.session_of_object(session_id, number)
        if frame not in found.objects[number].prompted:
            raise invalid(f"frame: object {number} has no prompt in frame {frame}")
        await self.call(found, found.clear, number, frame)

    async def reset(self, session_id: str) -> None:
        """Removes all objects."""
        found = self._service.sessions.get(session_id)
        await self.call(found, found.reset)

    def propagate(self, session_id: str, body: PropagateBody) -> Job:
        """Starts to follow the objects. Raises ServiceError."""
        found, service = self._service.sessions.get(session_id), self._service
        found.check_free()
        if not found.objects:
            raise invalid("propagate: the session has no object; add one first")
        if body.start is not None and found.engine.count is not None:
            if body.start >= found.engine.count:
                raise invalid(f"start: the video has {found.engine.count} frames")

        def work(job: Job) -> JsonObject:
            try:
                return found.follow(job, service.settings, body.direction, body.start, body.frames)
            finally:
                service.metrics.frames.inc(job.done)
                if service.settings.restore:
                    service.sessions.keep_now(found)

        found.job = service.jobs.start(Job("propagate", session_id), work, found.worker)
        return found.job

    async def picture(self, session_id: str, frame: int, long_side: int | None) -> bytes:
        """A frame as a JPEG; also while a job runs."""
        found = self._service.sessions.get(session_id)
        if frame >= self._service.settings.video_frames:
            raise ServiceError(404, "frame_not_found", f"there is no frame {frame}")
        return await self._service.decode(lambda: jpeg(found.engine.picture(frame), long_side))

    async def frame_masks(self, session_id: str, frame: int, form: Form) -> JsonObject:
        """The masks that a frame has; also while a job runs."""
        found = self._service.sessions.get(session_id)
        masks = found.frame_masks(frame)
        if masks is None:
            raise ServiceError(
                404, "no_masks", f"frame {frame} has no masks: it was not prompted or followed"
            )
        return await self._service.read(frame_json, frame, masks, form, found.engine.size)

    async def snapshot(self, session_id: str) -> WrittenFile:
        """Everything of a session but its video."""
        found = self._service.sessions.get(session_id)
        return await self.call(found, self._written, found, self._snapshot)

    def _snapshot(self, found: VideoSession, folder: Path) -> tuple[Path, str]:
        path = folder / "snapshot.safetensors"
        self._service.sessions.write_snapshot(found, path)
        return path, "application/octet-stream"

    async def take_up(self, session_id: str) -> VideoSession:
        """Goes on from the snapshot that the request uploads."""
        found = self._service.sessions.get(session_id)
        with self._service.sessions.folder.scratch() as folder:
            path = Path(folder) / UPLOADED_SNAPSHOT
            with open(path, "wb") as file:
                await receive(self._request, "snapshot", "application", file)
            await self.call(found, self._service.sessions.take_up, found, path)
        return found

    async def export(self, session_id: str, form: str) -> WrittenFile:
        """All masks of a session as one file."""
        found = self._service.sessions.get(session_id)
        if not found.frames_with_masks():
            raise invalid("export: the session has no masks")
        return await self.call(found, self._written, found, EXPORTS[form])

    def _written(self, found: VideoSession, write: Writer) -> WrittenFile:
        folder = self._service.sessions.folder.scratch()
        try:
            return WrittenFile(folder, *write(found, Path(folder.name)))
        except BaseException:
            folder.cleanup()
            raise


@dataclass(frozen=True)
class WrittenFile:
    """A file for a caller, in a folder that `folder.cleanup` removes, and its type."""

    folder: TemporaryDirectory[str]
    path: Path
    media_type: str


Writer = Callable[[VideoSession, Path], tuple[Path, str]]  # writes into a folder: path, type


def frame_json(frame: int, masks: FrameMasks, form: Form, size: tuple[int, int]) -> JsonObject:
    """The masks of a frame as the API gives them."""
    facts = {str(number): mask_json(record, form) for number, record in masks.items()}
    if form != "label_map":
        return {"frame": frame, "masks": facts}
    picture = label_map([record.rle for record in masks.values()], list(masks), size)
    return {
        "frame": frame,
        "masks": facts,
        "label_map": base64.b64encode(picture).decode("ascii"),
    }


def _coco(found: VideoSession, folder: Path) -> tuple[Path, str]:
    return found.engine.export(rle=folder / "masks.json")[0], "application/json"


def _csv(found: VideoSession, folder: Path) -> tuple[Path, str]:
    return found.engine.export(table=folder / "tracks.csv")[0], "text/csv"


def _overlay(found: VideoSession, folder: Path) -> tuple[Path, str]:
    return found.engine.export(overlay=folder / "overlay.mp4")[0], "video/mp4"


def _label_pngs(found: VideoSession, folder: Path) -> tuple[Path, str]:
    found.engine.export(labels=folder / "labels")
    with zipfile.ZipFile(folder / "labels.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted((folder / "labels").iterdir()):
            archive.write(path, path.name)
    return folder / "labels.zip", "application/zip"


EXPORTS: dict[str, Writer] = {
    "coco": _coco,
    "csv": _csv,
    "png": _label_pngs,
    "overlay": _overlay,
}
