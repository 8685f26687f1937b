"""The calls of the video service's front end, in its order, with all fields of the answers."""

import base64
import io
import time

import numpy as np
from PIL import Image

SESSION = {
    "session_id": str,
    "video_path": str,
    "total_frames": int,
    "objects": list,
    "created_at": float,
    "last_accessed": float,
    "idle_time": float,
}
OPENED = {
    "session_id": str,
    "video_path": str,
    "total_frames": int,
    "frame_width": int,
    "frame_height": int,
    "fps": float,
}
HEALTH = {
    "message": str,
    "status": str,
    "model_loaded": bool,
    "timestamp": float,
    "active_sessions": int,
}
OBJECT = {
    "object_id": int,
    "name": str,
    "category": str,
    "color": list,
    "frames_with_masks": int,
}
MASK = {"object_id": int, "frame_idx": int, "mask": str}
ADDED = {**MASK, "name": str, "category": str, "color": list}
JOB = {
    "job_id": str,
    "job_type": str,
    "status": str,
    "progress": float,
    "created_at": str,
    "started_at": str | None,
    "completed_at": str | None,
    "result": dict | None,
    "error": str | None,
}


def has(answer, fields):
    """Returns the answer, which has these fields of these types and no others."""
    assert answer.keys() == fields.keys()
    for name, kind in fields.items():
        value = answer[name]
        assert isinstance(value, kind) or (kind is float and isinstance(value, int)), (name, value)
    return answer


def picture_of(mask):
    """(H, W) uint8 of the base64 of a PNG, which must be 8-bit gray with 0 and 255 only."""
    with Image.open(io.BytesIO(base64.b64decode(mask, validate=True))) as png:
        assert png.format == "PNG" and png.mode == "L"
        pixels = np.asarray(png)
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels


def png_of(pixels):
    """The base64 of an 8-bit gray PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class FrontEnd:
    """A front end with a client (httpx, or a test client) whose base URL is the service's.

    app : the server, where it is in this process"""

    def __init__(self, client, app=None):
        self.client, self.app = client, app

    def get(self, path, fields):
        return has(self._ok(self.client.get(path)), fields)

    def post(self, path, body, fields):
        return has(self._ok(self.client.post(path, json=body)), fields)

    def refused(self, path, body):
        """The status and the text of a call that is refused."""
        answer = self.client.post(path, json=body)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["detail"]

    def _ok(self, answer):
        assert answer.status_code == 200, answer.text
        return answer.json()

    def initialize(self, path, **more):
        return self.post("/initialize", {"video_path": str(path), **more}, OPENED)

    def status(self, session):
        found = self.get(f"/session/{session}", SESSION)
        for one in found["objects"]:
            has(one, OBJECT)
        return found

    def add(self, session, object_id, frame, points, labels, **more):
        body = dict(session_id=session, frame_idx=frame, object_id=object_id)
        return self.post("/add-object", body | dict(points=points, labels=labels, **more), ADDED)

    def add_box(self, session, object_id, frame, box, **more):
        body = dict(session_id=session, frame_idx=frame, object_id=object_id, box=box)
        return self.post("/add-object-box", body | more, ADDED)

    def refine(self, session, object_id, frame, points, labels):
        body = dict(session_id=session, frame_idx=frame, object_id=object_id)
        return self.post("/refine", body | dict(points=points, labels=labels), MASK)

    def update_mask(self, session, object_id, frame, mask):
        body = dict(session_id=session, frame_idx=frame, object_id=object_id, mask=mask)
        return self.post("/update-mask", body, MASK)

    def propagate(self, session, pause=0.05, **more):
        """Asks for the job, and polls its state until it has ended (the front end: every 2 s).
        Returns all states that it saw."""
        accepted = self.post(
            "/propagate",
            {"session_id": session, **more},
            {"job_id": str, "status": str, "message": str},
        )
        assert accepted["status"] == "pending" and accepted["job_id"] in accepted["message"]
        seen = []
        for _ in range(int(120 / pause)):
            seen.append(self.get(f"/job/{accepted['job_id']}/status", JOB))
            if seen[-1]["status"] in ("completed", "failed"):
                return seen
            time.sleep(pause)
        raise AssertionError(f"the job has not ended: {seen[-1]}")

    def propagate_and_wait(self, session, **more):
        """The older form: all masks in one answer. Returns {frame: {object: pixels}}."""
        answer = self._ok(
            self.client.post("/propagate?wait=true", json={"session_id": session, **more})
        )
        has(answer, {"session_id": str, "total_frames": int, "frames": list})
        assert answer["session_id"] == session
        numbers = [frame["frame_idx"] for frame in answer["frames"]]
        assert numbers == sorted(set(numbers))
        return {frame["frame_idx"]: _pixels(frame) for frame in answer["frames"]}

    def masks(self, session, frame):
        """{object: pixels} of a frame."""
        return _pixels(
            self.post(
                "/frame-masks",
                {"session_id": session, "frame_idx": frame},
                {"frame_idx": int, "masks": dict},
            )
        )

    def close(self, session):
        fields = {"message": str, "session_id": str}
        return self.post("/session/close", {"session_id": session}, fields)


def _pixels(frame):
    has(frame, {"frame_idx": int, "masks": dict})
    return {int(id): picture_of(mask) for id, mask in frame["masks"].items()}
