"""A service as people write it around segment-anything and sam2: FastAPI, one predictor for each
model behind a lock, the embeddings of images kept by id, propagation in a thread.

python -m benchmarks.subjects.segment_anything_serve MODEL VIDEO_MODEL PORT THREADS PRECISION"""

import contextlib
import io
import sys
import threading
import time
import uuid
from typing import Annotated

from benchmarks.http_load import Connection, free_port, running

KEPT = 64  # images whose embeddings are kept


class Calls:
    """A client of the service below."""

    def __init__(self, port):
        self.call = Connection(port)

    def encode(self, photo):
        return self.call("POST", "/images", content=photo)["id"]

    def click(self, image, point):
        body = {"points": [point], "labels": [1]}
        return self.call("POST", f"/images/{image}/predict", body)["mask"]

    def open(self, clip):
        return self.call("POST", "/videos", {"path": str(clip)})["id"]

    def box(self, video, object_id, box):
        body = {"object_id": object_id, "box": box}
        return self.call("POST", f"/videos/{video}/boxes", body)["mask"]

    def follow(self, video):
        """Follows the objects to the end of the video. Returns the number of frames."""
        self.call("POST", f"/videos/{video}/propagate", {})
        while (state := self.call("GET", f"/videos/{video}"))["running"]:
            time.sleep(0.05)
        return state["done"]

    def close(self, video):
        self.call("DELETE", f"/videos/{video}")


@contextlib.contextmanager
def started(job, folder):
    """The service of a job. Yields its process number and a function that makes clients."""
    a, port = job.arguments, free_port()
    command = ["-m", "benchmarks.subjects.segment_anything_serve", a["model"], a["video_model"]]
    command += [str(port), str(job.threads), a["precision"]]
    with running(command, (port, "/health"), job.threads) as pid:
        yield pid, lambda: Calls(port)


class Images:
    """The predictor of images. One thread at a time uses it, because it holds an image."""

    STATE = ("features", "original_size", "input_size", "is_image_set")

    def __init__(self, model, threads, precision):
        from benchmarks.subjects.segment_anything import Subject

        self.predictor = Subject(model, threads, precision).predictor
        self.lock, self.kept = threading.Lock(), {}

    def encode(self, octets):
        import numpy as np
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(octets)).convert("RGB"))
        id = uuid.uuid4().hex
        with self.lock:
            self.predictor.set_image(pixels)
            self.kept[id] = {name: getattr(self.predictor, name) for name in self.STATE}
            while len(self.kept) > KEPT:
                self.kept.pop(next(iter(self.kept)))
        return id

    def predict(self, id, points, labels):
        """The mask with the highest predicted IoU, (H, W) bool."""
        import numpy as np

        with self.lock:
            for name, value in self.kept[id].items():
                setattr(self.predictor, name, value)
            masks, scores, _ = self.predictor.predict(
                np.asarray(points, float), np.asarray(labels), multimask_output=True
            )
        return masks[scores.argmax()]


class Videos:
    """sam2's video predictor, behind a lock, with the states of open videos."""

    def __init__(self, model, threads, precision):
        from benchmarks.subjects.sam2_video import Subject

        self.subject = Subject(model, threads, precision)
        self.lock, self.states, self.progress = threading.Lock(), {}, {}

    def open(self, path):
        import av
        import numpy as np

        with av.open(path) as video:
            frames = np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])
        id = uuid.uuid4().hex
        with self.lock:
            self.subject.open(frames)
            self.states[id] = self.subject.state
        self.progress[id] = {"running": False, "done": 0}
        return id

    def box(self, id, object_id, box):
        import numpy as np

        with self.lock:
            self.subject.state = self.states[id]
            return self.subject.add(object_id, np.float32(box))[-1]

    def follow(self, id):
        """Follows the objects; the masks of all frames are kept as PNG."""
        pictures = []
        with self.lock:
            self.subject.state = self.states[id]
            for masks in self.subject.follow():
                pictures.append([as_text(mask) for mask in masks])
                self.progress[id] = {"running": True, "done": len(pictures)}
        self.progress[id] = {"running": False, "done": len(pictures)}

    def close(self, id):
        with self.lock:
            self.states.pop(id), self.progress.pop(id)


def as_text(mask):
    """The base64 of a PNG."""
    import base64

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(mask.astype("uint8") * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def app_of(images, videos):
    from fastapi import Body, FastAPI, Request
    from starlette.concurrency import run_in_threadpool

    app = FastAPI()

    @app.get("/health")
    def health():
        return {"status": "healthy"}

    @app.post("/images")
    async def encode(request: Request):
        return {"id": await run_in_threadpool(images.encode, await request.body())}

    @app.post("/images/{id}/predict")
    def predict(id: str, points: Annotated[list, Body()], labels: Annotated[list, Body()]):
        return {"mask": as_text(images.predict(id, points, labels))}

    @app.post("/videos")
    def open_video(path: Annotated[str, Body(embed=True)]):
        return {"id": videos.open(path)}

    @app.post("/videos/{id}/boxes")
    def box(id: str, object_id: Annotated[int, Body()], box: Annotated[list, Body()]):
        return {"mask": as_text(videos.box(id, object_id, box))}

    @app.post("/videos/{id}/propagate")
    def propagate(id: str):
        videos.progress[id] = {"running": True, "done": 0}
        threading.Thread(target=videos.follow, args=(id,)).start()
        return {"id": id}

    @app.get("/videos/{id}")
    def progress(id: str):
        return videos.progress[id]

    @app.delete("/videos/{id}")
    def close(id: str):
        videos.close(id)

    return app


def main(model, video_model, port, threads, precision):
    import uvicorn

    images = Images(model, int(threads), precision)
    videos = Videos(video_model, int(threads), precision)
    app = app_of(images, videos)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
