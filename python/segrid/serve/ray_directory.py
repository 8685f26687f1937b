"""Who has what on a cluster: uploads of images, and the actors of sessions and jobs."""

from __future__ import annotations

import time
from collections import OrderedDict

from segrid.serve.in_actor import Call


class Directory:
    """One actor of the cluster. Images are kept as they were uploaded, so that any replica can
    encode them again; those not used for longest go first.

    most_bytes : of all uploads together
    most_jobs : whose actors are remembered
    most_sessions : that are open at once
    """

    def __init__(self, most_bytes: int, most_jobs: int, most_sessions: int) -> None:
        self._most_bytes, self._most_jobs = most_bytes, most_jobs
        self._most_sessions = most_sessions
        self._uploads: OrderedDict[str, Call] = OrderedDict()
        self._bytes = 0
        self._jobs: OrderedDict[str, str] = OrderedDict()
        self._sessions: dict[str, str] = {}
        self._opening: dict[str, float] = {}

    def keep_image(self, image_id: str, upload: Call) -> None:
        """Remembers the request that uploaded an image."""
        self.drop_image(image_id)
        self._uploads[image_id] = upload
        self._bytes += len(upload.body)
        while self._bytes > self._most_bytes and len(self._uploads) > 1:
            self.drop_image(next(iter(self._uploads)))

    def image(self, image_id: str) -> Call | None:
        """The request that uploaded an image; None where it is not known."""
        if image_id in self._uploads:
            self._uploads.move_to_end(image_id)
        return self._uploads.get(image_id)

    def has_image(self, image_id: str) -> bool:
        return self.image(image_id) is not None

    def drop_image(self, image_id: str) -> None:
        """Forgets an image."""
        if (old := self._uploads.pop(image_id, None)) is not None:
            self._bytes -= len(old.body)

    def take_place(self, actor: str) -> bool:
        """Whether one more session may be opened, by this actor."""
        if len(self._sessions) + len(self._opening) >= self._most_sessions:
            return False
        self._opening[actor] = time.time()
        return True

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
        while len(self._jobs) > self._most_jobs:
            self._jobs.popitem(last=False)

    def job(self, job_id: str) -> str | None:
        """The actor of a job."""
        return self._jobs.get(job_id)
