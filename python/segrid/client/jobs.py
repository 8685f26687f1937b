"""Jobs of the service."""

from __future__ import annotations

from collections.abc import Iterator

from segrid._types import JsonObject, Progress
from segrid.client.connection import Connection, ServiceError
from segrid.client.masks import FrameMasks, frame_masks


class Job:
    """A job that runs in the service.

    Attributes
    ----------
    job_id : with it `Client.job` finds the job again, also from another process
    """

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection, self.job_id = connection, job_id
        self._address = f"/v1/jobs/{job_id}"

    def status(self) -> JsonObject:
        """Its state: status, progress (0 to 100), done, total, rate, eta_s, result, error, times.

        Raises ServiceError.
        """
        return self._connection.json("GET", self._address)

    def cancel(self) -> None:
        """Stops it soon. What it found stays. Raises ServiceError."""
        self._connection.send("DELETE", self._address)

    def events(self, after: int = 0) -> Iterator[tuple[int, str, JsonObject]]:
        """Its events after a number, those that were and those to come: number, kind ("progress",
        "masks", "end") and data. A lost connection is taken up where it was. Raises ServiceError.
        """
        return self._connection.events(self._address, after)

    def frames(
        self, after: int = 0, progress: Progress | None = None
    ) -> Iterator[tuple[int, FrameMasks]]:
        """The frames with their masks, as they come.

        progress : is called with the job's state after each frame

        Raises ServiceError where the job fails or is cancelled; what came before is valid.
        """
        for _, kind, data in self.events(after):
            if kind == "masks":
                yield data["frame"], frame_masks(data)
            elif kind == "progress" and progress is not None:
                progress(data)
            elif kind == "end":
                raise_failure(data)

    def wait(self, progress: Progress | None = None) -> JsonObject:
        """Waits for the end, and returns the job's state. Raises ServiceError where it fails or is
        cancelled."""
        for _, kind, data in self.events():
            if kind == "progress" and progress is not None:
                progress(data)
        state = self.status()
        raise_failure(state)
        return state


def raise_failure(state: JsonObject) -> None:
    """Raises ServiceError where a job failed, or was cancelled (of the kind "cancelled")."""
    if state["status"] == "failed":
        raise ServiceError(500, state["error"], None)
    if state["status"] == "cancelled":
        text = "the job was cancelled, by a call or because the service stops"
        raise ServiceError(409, {"kind": "cancelled", "message": text}, None)
