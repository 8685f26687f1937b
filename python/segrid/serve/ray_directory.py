"""Who has what on a cluster: uploads of images, and the actors of sessions and jobs."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from segrid.serve.in_actor import Call

STARTED = 300.0  # seconds in which an actor must have loaded its models
OPENED = 2 * STARTED  # and in which it must have opened its session, too


@dataclass
class Upload:
    """The request that uploaded an image. holders : uploads less deletions"""

    call: Call
    holders: int


class Directory:
    """One actor of the cluster. Images are kept as they were uploaded, so that any replica can
    encode them again; those not used for longest go first. Jobs are kept until their actors have
    forgotten them.

    most_bytes : of all uploads together
    most_sessions : that are open at once
    """

    def __init__(self, most_bytes: int, most_sessions: int) -> None:
        self._most_bytes, self._most_sessions = most_bytes, most_sessions
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._bytes = 0
        self._jobs: dict[str, str] = {}
        self._sessions: dict[str, str] = {}
        self._opening: dict[str, float] = {}

    def keep_image(self, image_id: str, upload: Call) -> None:
        """Remembers the request that uploaded an image, and that one more caller holds it."""
        old = self._drop(image_id)
        self._uploads[image_id] = Upload(upload, 1 + (0 if old is None else old.holders))
        self._bytes += len(upload.body)
        while self._bytes > self._most_bytes and len(self._uploads) > 1:
            self._drop(next(iter(self._uploads)))

    def image(self, image_id: str) -> Call | None:
        """The request that uploaded an image; None where it is not known."""
        if image_id in self._uploads:
            self._uploads.move_to_end(image_id)
            return self._uploads[image_id].call
        return None

    def has_image(self, image_id: str) -> bool:
        return self.image(image_id) is not None

    def unknown_images(self, image_ids: Iterable[str]) -> list[str]:
        """Those of the images that are kept no more."""
        return [image_id for image_id in image_ids if image_id not in self._uploads]

    def delete_image(self, image_id: str) -> bool:
        """Takes back one upload; the image is forgotten when all who sent it have done so. False
        where there is none."""
        if (found := self._uploads.get(image_id)) is None:
            return False
        found.holders -= 1
        if found.holders <= 0:
            self._drop(image_id)
        return True

    def _drop(self, image_id: str) -> Upload | None:
        if (old := self._uploads.pop(image_id, None)) is not None:
            self._bytes -= len(old.call.body)
        return old

    def take_place(self, actor: str) -> bool:
        """Whether one more session may be opened, by this actor."""
        if len(self._sessions) + len(self._opening) >= self._most_sessions:
            return False
        self._opening[actor] = time.monotonic()
        return True

    def overdue(self) -> list[str]:
        """The actors that have taken a place and told nothing within `OPENED`: the process that
        opened their sessions is gone."""
        oldest = time.monotonic() - OPENED
        return [actor for actor, begin in self._opening.items() if begin < oldest]

    def opened(self, actor: str, session_id: str | None) -> None:
        """The actor has opened a session; None: it has failed."""
        self._opening.pop(actor, None)
        if session_id is not None:
            self._sessions[session_id] = actor

    def session(self, session_id: str) -> str | None:
        """The actor of a session."""
        return self._sessions.get(session_id)

    def sessions(self) -> dict[str, str]:
        """The actors of all sessions."""
        return dict(self._sessions)

    def closed(self, session_id: str) -> None:
        """The session is no more, nor are its jobs."""
        actor = self._sessions.pop(session_id, None)
        for job_id in [job_id for job_id, of in self._jobs.items() if of == actor]:
            del self._jobs[job_id]

    def keep_job(self, job_id: str, actor: str) -> None:
        """Remembers the actor of a job."""
        self._jobs[job_id] = actor

    def jobs(self) -> dict[str, str]:
        """The actors of all jobs."""
        return dict(self._jobs)

    def forget_jobs(self, job_ids: Iterable[str]) -> None:
        """Forgets jobs that their actors have forgotten."""
        for job_id in job_ids:
            self._jobs.pop(job_id, None)

    def job(self, job_id: str) -> str | None:
        """The actor of a job."""
        return self._jobs.get(job_id)
