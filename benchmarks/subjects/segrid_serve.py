"""`segrid serve`, as it starts by default, with a model that follows objects."""

import contextlib

from benchmarks.http_load import Connection, free_port, running


class Calls:
    """A client of the service."""

    def __init__(self, port):
        self.call = Connection(port)

    def encode(self, photo):
        return self.call("POST", "/v1/images", content=photo, kind="image/jpeg")["image_id"]

    def click(self, image, point):
        body = {"points": [point], "labels": [1], "multimask": True}
        return self.call("POST", f"/v1/images/{image}/predict", body)["masks"]

    def open(self, clip):
        return self.call("POST", "/v1/sessions", {"path": str(clip)})["session_id"]

    def box(self, video, object_id, box):
        body = {"object_id": object_id, "frame": 0, "box": box}
        return self.call("POST", f"/v1/sessions/{video}/objects", body)["mask"]

    def follow(self, video):
        """Follows the objects to the end of the video, reading masks as they come. Returns the
        number of frames."""
        job = self.call("POST", f"/v1/sessions/{video}/propagate", {})["job_id"]
        status, events = self.call.octets("GET", f"/v1/jobs/{job}/events")
        if status != 200 or b"event: end" not in events:
            raise RuntimeError(f"events: {status} {events[-500:]!r}")
        return events.count(b"event: masks")

    def close(self, video):
        self.call("DELETE", f"/v1/sessions/{video}")


@contextlib.contextmanager
def started(job, folder):
    """The service of a job. Yields its process number and a function that makes clients."""
    a, port = job.arguments, free_port()
    command = ["-m", "segrid", "serve", "--port", str(port), "--media-root", str(folder)]
    command += ["--model", a["model"], "--tracker", a["video_model"]]
    command += ["--precision", a["precision"], "--threads", str(job.threads)]
    with running(command, (port, "/v1/ready"), job.threads) as pid:
        yield pid, lambda: Calls(port)
