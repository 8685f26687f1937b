"""The video sessions of the service: caps, time-outs, folders, snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from segrid._files import write_text
from segrid._types import JsonObject
from segrid.serve.errors import ServiceError, invalid, not_found, too_large
from segrid.serve.jobs import Jobs
from segrid.serve.media import media_path
from segrid.serve.models import Models
from segrid.serve.settings import Settings
from segrid.serve.snapshot_notes import add_notes, read_notes
from segrid.serve.state_folder import StateFolder
from segrid.serve.video_session import (
    ObjectFacts,
    Origin,
    VideoSession,
    color_of,
    prompted_frames,
    too_many_prompts,
)
from segrid.video.session import Session
from segrid.video.snapshots import read_snapshot

logger = logging.getLogger("segrid.serve")
COSTLY = ("history", "memory_stride", "pointers")  # options by which a session grows
VIDEO, SNAPSHOT, ORIGIN = "video", "session.safetensors", "origin.json"  # files of a session


class VideoSessions:
    """The open sessions by their ids, which are random numbers of 128 bits.

    All methods are called on the event loop, except where they say otherwise.
    """

    def __init__(self, settings: Settings, models: Models, jobs: Jobs) -> None:
        self._settings, self._models, self._jobs = settings, models, jobs
        self._sessions: dict[str, VideoSession] = {}
        self._opening = 0
        self._folder: StateFolder | None = None
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def folder(self) -> StateFolder:
        """The state folder of the running server."""
        assert self._folder is not None, "the service is not started"
        return self._folder

    def get(self, session_id: str) -> VideoSession:
        """The session of an id, which is in use again from now on. Raises ServiceError."""
        if (found := self._sessions.get(session_id)) is None:
            raise not_found()
        found.use()
        return found

    def all(self) -> list[VideoSession]:
        return list(self._sessions.values())

    async def start(self) -> None:
        """Takes up or removes the sessions of an earlier server, and watches for idle ones."""
        self._folder = StateFolder(self._settings.state_dir)
        for session_id in self._folder.leftovers():
            if not self._settings.restore or not await self._taken_up(session_id):
                self._folder.remove(session_id)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Closes all sessions; with `restore` their snapshots stay."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for found in self.all():
            if self._settings.restore:
                await self.keep(found)
            await self.close(found, keep_files=self._settings.restore)
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, self._settings.session_timeout / 3))
            try:
                await self.close_idle()
                self._jobs.forget_old()
            except Exception:
                logger.exception("closing idle sessions failed")

    async def close_idle(self) -> None:
        """Closes the sessions that were idle for longer than `session_timeout`."""
        for found in self.all():
            if found.idle_s > self._settings.session_timeout and not found.is_in_use:
                logger.info("session %s timed out", found.session_id)
                await self.close(found)

    async def make_room(self) -> None:
        """Raises ServiceError where as many sessions are open as may be."""
        await self.close_idle()
        if len(self._sessions) + self._opening >= self._settings.max_sessions:
            idle = max((found.idle_s for found in self.all()), default=0.0)
            raise ServiceError(
                429,
                "too_many_sessions",
                f"{self._settings.max_sessions} sessions are open, which is the limit "
                "(max_sessions); close one, or wait until one times out",
                setting="max_sessions",
                retry_after=min(self._settings.session_timeout - idle, 60.0),
            )

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """A block with the folder of a new session, which is removed unless one is opened in it.

        Raises ServiceError where as many sessions are open as may be.
        """
        await self.make_room()
        session_id = secrets.token_hex(16)
        place = Place(session_id, self.folder.new(session_id))
        try:
            yield place
        finally:
            if session_id not in self._sessions:
                self.folder.remove(session_id)

    async def open(
        self,
        place: Place,
        origin: Origin,
        run: Callable[[Callable[[Origin], Session], Origin], Awaitable[Session]],
    ) -> VideoSession:
        """Opens a session of a video.

        run : runs a function, which computes, with its argument
        """
        await self.make_room()
        if self._settings.restore:
            write_text(place.folder / ORIGIN, json.dumps(_origin_json(origin)))
        self._opening += 1
        try:
            engine = await run(self._opened, origin)
        finally:
            self._opening -= 1
        found = VideoSession(place.session_id, engine, origin, self._settings.max_prompts)
        self._sessions[place.session_id] = found
        return found

    def _opened(self, origin: Origin) -> Session:
        tracker = self._models.tracker(origin.model, origin.image_side)
        engine = tracker.open(
            origin.path,
            long_side=self._settings.video_long_side,
            max_objects=self._settings.max_objects,
        )
        try:
            self._check_size(engine)
        except BaseException:
            engine.close()
            raise
        return engine

    def _check_size(self, engine: Session) -> None:
        height, width = engine.size
        if height * width > self._settings.video_pixels:
            raise too_large(
                f"the video has {width} x {height} pixels; the limit is "
                f"{self._settings.video_pixels} pixels (video_pixels). Reduce its frames",
                "video_pixels",
            )
        if engine.count is not None and engine.count > self._settings.video_frames:
            raise too_large(
                f"the video has {engine.count} frames; the limit is "
                f"{self._settings.video_frames} (video_frames). Cut it",
                "video_frames",
            )

    async def close(self, found: VideoSession, *, keep_files: bool = False) -> None:
        """Closes a session: its job is cancelled, its files are removed. A second call does
        nothing."""
        if self._sessions.pop(found.session_id, None) is None:
            return
        found.is_closed = True
        if found.job is not None and not found.job.is_over:
            self._jobs.cancel(found.job)
            await found.job.finished.wait()
        await _end(found)
        self._jobs.forget_session(found.session_id)
        if not keep_files:
            self.folder.remove(found.session_id)

    # Snapshots. These run on the session's thread.

    def write_snapshot(self, found: VideoSession, path: Path) -> None:
        """Writes everything of a session but its video."""
        found.engine.snapshot(path)
        facts = {
            str(number): {
                "name": facts.name,
                "category": facts.category,
                "color": list(facts.color),
            }
            for number, facts in found.objects.items()
        }
        add_notes(path, {"objects": facts})

    def take_up(self, found: VideoSession, path: Path) -> None:
        """Goes on from a snapshot of the same video and model. Raises what is wrong with it; then
        the session is as it was."""
        notes = read_notes(path)  # first: it refuses a header that takes too much memory
        snapshot = read_snapshot(path)
        limits = self._settings
        if snapshot.long_side is None or snapshot.long_side > limits.video_long_side:
            raise invalid(
                f"snapshot: made with frames of a long side of {snapshot.long_side} pixels; at "
                f"most {limits.video_long_side} are allowed (video_long_side)",
                setting="video_long_side",
            )
        most = snapshot.options.get("max_objects")
        if len(snapshot.tracks) > limits.max_objects or not (
            isinstance(most, int) and most <= limits.max_objects
        ):
            raise invalid(
                f"snapshot: of a session that may have more than {limits.max_objects} objects; "
                "open it with a smaller max_objects",
                setting="max_objects",
            )
        prompted = prompted_frames(snapshot.tracks)
        if (count := sum(map(len, prompted.values()))) > limits.max_prompts:
            raise too_many_prompts(count, limits.max_prompts)
        for name in COSTLY:
            if snapshot.options.get(name) is not None:
                raise invalid(
                    f"snapshot: of a session that was opened with {name}=; this service has no "
                    "such sessions, because they may need any memory or time"
                )
        tracker = self._models.tracker(found.origin.model, found.origin.image_side)
        engine = tracker.restore(snapshot, source=found.origin.path)
        try:
            objects = _objects(engine, notes, prompted)
            found.go_on_with(engine, objects)
        except BaseException:
            engine.close()
            raise

    async def keep(self, found: VideoSession) -> None:
        """Writes the snapshot from which a restarted server goes on."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(found.worker, self.keep_now, found)

    def keep_now(self, found: VideoSession) -> None:
        """`keep`, on the session's thread."""
        try:
            self.write_snapshot(found, self.folder.path / found.session_id / SNAPSHOT)
        except Exception:
            logger.exception("session %s: its snapshot could not be written", found.session_id)

    async def _taken_up(self, session_id: str) -> bool:
        """Whether a session of an earlier server could be opened again."""
        folder = self.folder.path / session_id
        loop = asyncio.get_running_loop()
        found = None
        try:
            origin = _read_origin(folder, self._settings)
            engine = await loop.run_in_executor(None, self._opened, origin)
            found = VideoSession(session_id, engine, origin, self._settings.max_prompts)
            if (folder / SNAPSHOT).exists():
                await loop.run_in_executor(found.worker, self.take_up, found, folder / SNAPSHOT)
        except Exception:
            logger.exception("session %s could not be taken up and is removed", session_id)
            if found is not None:
                await _end(found)
            return False
        self._sessions[session_id] = found
        return True


@dataclass(frozen=True)
class Place:
    """The id and the folder of a session that is being made."""

    session_id: str
    folder: Path

    @property
    def video(self) -> Path:
        """Where an uploaded video goes."""
        return self.folder / VIDEO


async def _end(found: VideoSession) -> None:
    """Closes the engine's session and its thread."""
    await asyncio.get_running_loop().run_in_executor(found.worker, found.close)
    found.worker.shutdown(wait=False)


def _objects(
    engine: Session, notes: JsonObject, prompted: dict[int, set[int]]
) -> dict[int, ObjectFacts]:
    """The facts of the objects of a snapshot, of which the notes may say anything."""
    kept = notes.get("objects")
    found = {}
    for number in engine.ids:
        own = kept.get(str(number), {}) if isinstance(kept, dict) else {}
        own = own if isinstance(own, dict) else {}
        name, category = own.get("name", engine.names.get(number)), own.get("category")
        found[number] = ObjectFacts(
            name if isinstance(name, str) else None,
            category if isinstance(category, (str, int)) else engine.categories.get(number),
            _color(own.get("color")) or color_of(number),
            prompted.get(number, set()),
        )
    return found


def _color(value: object) -> tuple[int, int, int] | None:
    """The colour that a note holds, where it holds one."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    r, g, b = (part if isinstance(part, int) and 0 <= part <= 255 else -1 for part in value)
    return None if min(r, g, b) < 0 else (r, g, b)


def _origin_json(origin: Origin) -> JsonObject:
    return {**vars(origin), "path": str(origin.path)}


def _read_origin(folder: Path, settings: Settings) -> Origin:
    """Where the video of a kept session is. Raises OSError, ValueError, KeyError, ServiceError."""
    facts = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    path = folder / VIDEO if facts["is_upload"] else media_path(settings.media_root, facts["path"])
    return Origin(path, facts["is_upload"], facts["model"], facts["image_side"])
