"""Video sessions in the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from segrid._closing import Closing
from segrid._files import atomic_write
from segrid._types import JsonObject, Progress
from segrid.client.connection import Connection, ServiceError
from segrid.client.jobs import Job
from segrid.client.masks import FoundMask, FrameMasks, found_mask, frame_masks, sent_mask

Direction = Literal["forward", "backward", "both"]
GONE = ("not_found", "actor_lost")  # kinds of errors where there is no session to close


class RemoteSession(Closing):
    """A video whose objects the service follows. A `with` block closes it at its end.

    Attributes
    ----------
    session_id : with it `Client.session_of` finds the session again
    frames : the number of frames; None where the video does not tell
    width, height : pixels
    rate : frames per second, or None
    model : the name of the model
    """

    def __init__(self, connection: Connection, facts: JsonObject) -> None:
        self._connection = connection
        self.session_id: str = facts["session_id"]
        self.frames: int | None = facts["frames"]
        self.width: int = facts["width"]
        self.height: int = facts["height"]
        self.rate: float | None = facts["rate"]
        self.model: str = facts["model"]
        self._address = f"/v1/sessions/{self.session_id}"

    def facts(self) -> JsonObject:
        """The session as the service tells it, with its objects. Raises ServiceError."""
        return self._connection.json("GET", self._address)

    def add(
        self,
        object_id: int,
        frame: int = 0,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | JsonObject | None = None,
        name: str | None = None,
        category: str | int | None = None,
        replace: bool = False,
    ) -> FoundMask:
        """Prompts an object in a frame, and returns its mask there; a second call refines it.

        points, labels : (K, 2) clicks; (K,) 1 in the object, 0 not
        box : (4,) XYXY
        mask : of the video's size, as an array or as run lengths, in place of clicks and box
        replace : earlier clicks in this frame go

        Raises ServiceError.
        """
        body = {
            "object_id": object_id,
            "frame": frame,
            "points": None if points is None else np.atleast_2d(points).tolist(),
            "labels": None if labels is None else np.atleast_1d(labels).tolist(),
            "box": None if box is None else np.asarray(box).tolist(),
            "mask": None if mask is None else sent_mask(mask),
            "name": name,
            "category": category,
            "replace": replace,
        }
        return found_mask(self._connection.json("POST", f"{self._address}/objects", json=body))

    def change(self, object_id: int, **facts: str | int | list[int]) -> JsonObject:
        """Changes name=, category= or color= of an object. Raises ServiceError."""
        return self._connection.json("PATCH", f"{self._address}/objects/{object_id}", json=facts)

    def remove(self, object_id: int) -> None:
        """Removes an object with its masks. Raises ServiceError."""
        self._connection.send("DELETE", f"{self._address}/objects/{object_id}")

    def clear(self, object_id: int, frame: int) -> None:
        """Takes back the prompts of an object in a frame. Raises ServiceError."""
        self._connection.send(
            "DELETE", f"{self._address}/objects/{object_id}/prompts", params={"frame": frame}
        )

    def reset(self) -> None:
        """Removes all objects. Raises ServiceError."""
        self._connection.send("POST", f"{self._address}/reset")

    def start(
        self,
        direction: Direction = "forward",
        *,
        start: int | None = None,
        frames: int | None = None,
    ) -> Job:
        """Starts to follow the objects, and returns the job. Raises ServiceError."""
        body = {"direction": direction, "start": start, "frames": frames}
        answer = self._connection.json("POST", f"{self._address}/propagate", json=body)
        return Job(self._connection, answer["job_id"])

    def propagate(
        self,
        direction: Direction = "forward",
        *,
        start: int | None = None,
        frames: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, FrameMasks]]:
        """Follows the objects; gives each frame with its masks as it comes.

        direction, start, frames : as `Session.propagate` has them
        progress : is called with the job's state after each frame

        A loop that is left early cancels the job. Raises ServiceError, of the kind "cancelled"
        where another caller cancels it; the frames that came before are valid.
        """
        job = self.start(direction, start=start, frames=frames)
        try:
            yield from job.frames(progress=progress)
        finally:
            with suppress(ServiceError):  # the session may be closed, and its jobs forgotten
                job.cancel()  # it does nothing where the job is over

    def masks(self, frame: int) -> FrameMasks:
        """The masks of a frame by object; also while a job runs. Raises ServiceError."""
        return frame_masks(self._connection.json("GET", f"{self._address}/frames/{frame}/masks"))

    def picture(self, frame: int, long_side: int | None = None) -> bytes:
        """A frame as a JPEG; also while a job runs. Raises ServiceError."""
        how = {} if long_side is None else {"params": {"long_side": long_side}}
        return self._connection.send("GET", f"{self._address}/frames/{frame}", **how).content

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Writes everything but the video to a file. Raises ServiceError, OSError."""
        _write(path, self._connection.send("GET", f"{self._address}/snapshot").content)

    def take_up(self, path: str | os.PathLike[str]) -> None:
        """Goes on from such a file, in place of what the session holds. Raises ServiceError."""
        headers = {"Content-Type": "application/octet-stream"}
        self._connection.send(
            "POST", f"{self._address}/snapshot", content=Path(path).read_bytes(), headers=headers
        )

    def export(
        self, path: str | os.PathLike[str], format: Literal["coco", "csv", "png", "overlay"]
    ) -> None:
        """Writes all masks to a file: JSON, CSV, a zip of label PNGs, or an MP4. Raises
        ServiceError, OSError."""
        answer = self._connection.send("GET", f"{self._address}/export", params={"format": format})
        _write(path, answer.content)

    def close(self) -> None:
        """Closes the session in the service. It does nothing where the session is gone. Raises
        ServiceError."""
        try:
            self._connection.send("DELETE", self._address)
        except ServiceError as error:
            if error.kind not in GONE:
                raise


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    with atomic_write(path) as part:
        part.write_bytes(content)
