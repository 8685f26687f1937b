"""One video session of the service: its masks, the facts of its objects, and its one thread."""

from __future__ import annotations

import asyncio
import colorsys
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segrid import TrackedFrame
from segrid._types import JsonObject
from segrid.serve.errors import ServiceError, engine_errors, invalid, not_found, too_large
from segrid.serve.jobs import Job
from segrid.serve.mask_formats import MaskRecord, kept
from segrid.serve.settings import Settings
from segrid.video.runs import Direction
from segrid.video.session import Session

FrameMasks = dict[int, MaskRecord]  # by object


@dataclass
class ObjectFacts:
    """What callers say of an object. category : a word or a number of theirs."""

    name: str | None
    category: str | int | None
    color: tuple[int, int, int]
    prompted: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Origin:
    """Where a session's video comes from.

    path : of the file or folder
    is_upload : whether it is a file of the session
    """

    path: Path
    is_upload: bool
    model: str
    image_side: int | None


class VideoSession:
    """A session of the engine with what the API tells of it.

    The engine's session is used on `worker` alone, a single thread, which alone adds and removes
    objects, too. What was found is kept here as run lengths as it comes, so that masks can be read
    at any time, also while a job runs.
    """

    def __init__(self, session_id: str, session: Session, origin: Origin, max_prompts: int) -> None:
        self.session_id, self.engine, self.origin = session_id, session, origin
        self._max_prompts = max_prompts
        self.worker = ThreadPoolExecutor(1, "segrid-session")
        self.objects: dict[int, ObjectFacts] = {}
        self.created_at = time.time()
        self._used = time.monotonic()  # a clock that nobody sets
        self.job: Job | None = None
        self.is_closed = False
        self._found: dict[int, FrameMasks] = {}
        self._lock = threading.Lock()
        self._turn = asyncio.Lock()
        self._calls = 0  # that use the engine's session, or wait for it

    def use(self) -> None:
        """Notes that the session is in use now."""
        self._used = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since it was used."""
        return time.monotonic() - self._used

    @property
    def last_used(self) -> float:
        """When it was used, in seconds since 1970."""
        idle = self.idle_s
        return time.time() - idle

    @property
    def is_busy(self) -> bool:
        """Whether a job uses the session."""
        return self.job is not None and not self.job.is_over

    @property
    def is_in_use(self) -> bool:
        """Whether a job or a call uses the session."""
        return self.is_busy or self._calls > 0

    @contextlib.asynccontextmanager
    async def turn(self, most: int) -> AsyncIterator[None]:
        """The block of a call that uses the engine's session, one after the other.

        Raises ServiceError (429) where as many as `most` calls are there already.
        """
        if self._calls >= most:
            raise ServiceError(
                429,
                "busy_server",
                f"{most} calls of this session wait, which is the limit (queue_per_client)",
                setting="queue_per_client",
                retry_after=1,
            )
        self._calls += 1
        try:
            async with self._turn:
                yield
        finally:
            self._calls -= 1
            self.use()

    def check_free(self) -> None:
        """Raises ServiceError where the session is closed, or where a job uses it: like sam2's, a
        session that is being followed takes no other calls."""
        if self.is_closed:
            raise not_found()
        if self.is_busy and self.job is not None:
            raise ServiceError(
                409,
                "busy",
                "a job uses this session; wait for its end or cancel it. Masks, frames and names "
                "can be asked for meanwhile",
                retry_after=1,
                facts={"job_id": self.job.job_id},
            )

    def free_worker(self) -> ThreadPoolExecutor:
        """The thread for a call that may begin now. Raises what `check_free` raises."""
        self.check_free()
        return self.worker

    def frame_masks(self, frame: int) -> FrameMasks | None:
        """The masks of a frame by object; None where nothing was found in it."""
        with self._lock:
            found = self._found.get(frame)
            return None if found is None else dict(found)

    def frames_with_masks(self) -> dict[int, list[int]]:
        """The frames in which each object has a mask, ascending."""
        with self._lock:
            found = {number: list(masks) for number, masks in self._found.items()}
        frames: dict[int, list[int]] = {number: [] for number in list(self.objects)}
        for frame in sorted(found):
            for number in found[frame]:
                frames.setdefault(number, []).append(frame)
        return frames

    def json(self) -> JsonObject:
        """The session as the API gives it."""
        height, width = self.engine.size
        frames = self.frames_with_masks()
        return {
            "session_id": self.session_id,
            "frames": self.engine.count,
            "width": width,
            "height": height,
            "rate": self.engine.rate,
            "model": self.origin.model,
            "created_at": self.created_at,
            "last_used": self.last_used,
            "idle_s": self.idle_s,
            "job_id": self.job.job_id if self.is_busy and self.job is not None else None,
            "objects": [
                object_json(number, facts, frames.get(number, []))
                for number, facts in list(self.objects.items())  # the worker changes them
            ],
        }

    def change(
        self,
        number: int,
        name: str | None,
        category: str | int | None,
        color: tuple[int, int, int] | None,
    ) -> ObjectFacts:
        """Notes what is given of a known object; also while a job runs. Raises ServiceError."""
        if (facts := self.objects.get(number)) is None:
            raise not_found()
        self._note_facts(number, facts, name, category)
        facts.color = color or facts.color
        return facts

    def _note_facts(
        self, number: int, facts: ObjectFacts, name: str | None, category: str | int | None
    ) -> None:
        if name is not None:
            facts.name = self.engine.names[number] = name
        if category is not None:
            facts.category = category
            if isinstance(category, int):
                self.engine.categories[number] = category

    # The calls below use the engine's session: they run on `worker`.

    def describe(self, number: int, name: str | None, category: str | int | None) -> ObjectFacts:
        """Notes what is given of an object, a new or a known one."""
        facts = self.objects.setdefault(number, ObjectFacts(None, None, color_of(number)))
        self._note_facts(number, facts, name, category)
        return facts

    def prompt(self, number: int, frame: int, **prompt: Any) -> FrameMasks:
        """Prompts an object as `Session.add` does, and returns the masks of the frame. After an
        error a new object is gone again: callers do not know it yet.

        Raises NotFinite naming the object, ServiceError where there are too many prompts, and what
        `Session.add` raises.
        """
        self._check_prompts(number, frame)
        is_new = number not in self.engine.ids
        try:
            with engine_errors():
                self.engine.add(number, frame, **prompt)
                return self.note(self.engine.frame(frame))
        except BaseException:
            if is_new and number in self.engine.ids:
                self.engine.remove(number)
            raise

    def _check_prompts(self, number: int, frame: int) -> None:
        """Later frames look at each prompted one, and its memory stays to the end."""
        facts = self.objects.get(number)
        is_more = facts is None or frame not in facts.prompted
        there = sum(len(known.prompted) for known in list(self.objects.values()))
        if is_more and there >= self._max_prompts:
            raise too_many_prompts(there + 1, self._max_prompts)

    def note(self, tracked: TrackedFrame) -> FrameMasks:
        """Keeps the masks of a frame, and returns them. Raises NotFinite."""
        masks = masks_of(tracked)
        with self._lock:
            self._found[tracked.index] = masks
        return masks

    def go_on_with(self, engine: Session, objects: dict[int, ObjectFacts]) -> None:
        """Takes another session of the engine, with all its masks, in place of its own, which is
        closed. Raises NotFinite, Cancelled; then nothing has changed."""
        found = {frame: masks_of(engine.frame(frame)) for frame in engine.shown_frames}
        old = self.engine
        with self._lock:
            self.engine, self.objects, self._found = engine, objects, found
        old.close()

    def drop_object(self, number: int) -> None:
        """Removes an object with its masks. Raises ServiceError where it is gone."""
        if number not in self.objects:
            raise not_found()
        self.engine.remove(number)
        self.objects.pop(number, None)
        with self._lock:
            for masks in self._found.values():
                masks.pop(number, None)
            self._found = {frame: masks for frame, masks in self._found.items() if masks}

    def clear(self, number: int, frame: int) -> None:
        """Takes back the prompts of an object in a frame. What the frame holds then is that of the
        engine: nothing, an earlier mask, or the same mask as one that was followed.

        Raises ServiceError where the object is gone.
        """
        if (facts := self.objects.get(number)) is None:
            raise not_found()
        self.engine.clear(number, frame)
        facts.prompted.discard(frame)
        if frame in self.engine.shown_frames:
            self.note(self.engine.frame(frame))
        else:
            with self._lock:
                self._found.pop(frame, None)

    def reset(self) -> None:
        """Removes all objects."""
        self.engine.reset()
        self.objects.clear()
        with self._lock:
            self._found.clear()

    def follow(
        self,
        job: Job,
        settings: Settings,
        direction: Direction,
        start: int | None,
        frames: int | None,
    ) -> JsonObject:
        """Follows the objects, telling the job. Returns its result.

        Raises ServiceError, Cancelled; what was found before stays.
        """
        totals: list[int | None] = [None]
        done = 0
        with engine_errors():
            steps = self.engine.propagate(
                direction,
                start=start,
                frames=frames,
                progress=lambda state: totals.append(state["total"]),
                cancel=job.token,
            )
            for tracked in steps:
                if tracked.index >= settings.video_frames:
                    raise too_large(
                        f"frame {tracked.index}: the limit is {settings.video_frames} frames "
                        "(video_frames)",
                        "video_frames",
                    )
                masks = self.note(tracked)
                done += 1
                self.use()
                job.tell("masks", (tracked.index, masks))
                job.advance(done, totals[-1])
        return {
            "session_id": self.session_id,
            "total_frames": done,
            "object_ids": self.engine.ids,
        }

    def close(self) -> None:
        """Closes the engine's session, on its thread."""
        self.engine.close()


def too_many_prompts(count: int, most: int) -> ServiceError:
    """The answer where a session would have more prompts than it may have."""
    return invalid(
        f"prompts: the session would have {count}, counted by object and frame; the limit is "
        f"{most} (max_prompts). Take some back",
        setting="max_prompts",
    )


def object_json(number: int, facts: ObjectFacts, frames: list[int]) -> JsonObject:
    """An object as the API gives it."""
    return {
        "object_id": number,
        "name": facts.name,
        "category": facts.category,
        "color": list(facts.color),
        "frames_with_masks": frames,
        "prompted_frames": sorted(facts.prompted),
    }


def masks_of(tracked: TrackedFrame) -> FrameMasks:
    """The masks of a frame. An object that was neither prompted nor followed in it, whose score is
    NaN, has none.

    Raises NotFinite.
    """
    there = np.flatnonzero(~np.isnan(tracked.scores))
    ids = [tracked.ids[i] for i in there]
    found = kept(tracked.masks[there], tracked.scores[there], tracked.index, ids)
    return dict(zip(ids, found, strict=True))


def color_of(number: int) -> tuple[int, int, int]:
    """The colour of an object: hues separated by the golden ratio."""
    value = 1.0 if number % 2 else 0.85
    r, g, b = colorsys.hsv_to_rgb((0.11 + 0.61803398875 * number) % 1.0, 0.85, value)
    return round(255 * r), round(255 * g), round(255 * b)


def prompted_frames(tracks: Iterable[JsonObject]) -> dict[int, set[int]]:
    """The frames in which each object of a snapshot was prompted."""
    return {
        track["id"]: {row[0] for row in track["prompts"]}
        | {mask["frame"] for mask in track["masks"] if mask["prompted"]}
        for track in tracks
    }
