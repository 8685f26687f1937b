"""What tests of the service do again and again."""

import time
from contextlib import contextmanager

OCTETS = {"content-type": "application/octet-stream"}
CLICK = {"object_id": 1, "frame": 0, "points": [[60, 60]], "labels": [1]}


def opened(client, **more):
    """The address of a new session of clip.mp4, and its facts."""
    answer = client.post("/v1/sessions", json={"path": "clip.mp4", **more})
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{answer.json()['session_id']}", answer.json()


def finished(client, job_id, seconds=60):
    """The job, when it is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["status"] not in ("pending", "running"):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def until(condition, seconds=30):
    """Waits until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def error_of(answer, status, kind):
    """The error of an answer, which must have a status and a kind."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["kind"] == kind, error
    return error


@contextmanager
def held_after(monkeypatch, frames):
    """A block in which jobs stop after so many frames and go on at its end."""
    import threading

    from segrid.serve.video_session import VideoSession

    go_on, note, counts = threading.Event(), VideoSession.note, {}

    def held(self, tracked):
        done = counts[id(self)] = counts.get(id(self), 0) + 1
        if self.is_busy and done > frames:
            while not go_on.wait(0.02) and not self.job.token.cancelled:
                pass
        return note(self, tracked)

    monkeypatch.setattr(VideoSession, "note", held)
    try:
        yield
    finally:
        go_on.set()
        monkeypatch.setattr(VideoSession, "note", note)
