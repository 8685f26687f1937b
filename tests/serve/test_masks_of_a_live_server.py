"""Masks are never made up: the pictures and the run lengths that a live server sends are those of
the engine, bit for bit, with two CPUs, with half of one, and while it is busy with other work."""

import base64
import io
import os
import threading
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import segrid
from PIL import Image
from pycocotools import mask as coco

from tests.serve.live_server import cpu_quota, has_taskset, live_server, throttled

POINTS = [[[60, 60]], [[110, 60]], [[300, 200]], [[200, 150], [10, 10]]]
CLICKS = {1: [[110, 55]], 2: [[40, 80]]}  # in frame 0 of the clip


@pytest.fixture(scope="module")
def served(settings):
    """The fields of Settings for a process."""
    return {
        "trackers": list(settings.trackers),
        "detectors": [],
        "precision": "fp32",
        "media_root": settings.media_root,
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def expected(coins, video_model, media):
    """The masks of the engine in this process: of clicks, of everything, of the video's frames."""
    segmenter = segrid.Segmenter("tiny", precision="fp32", device="cpu")
    clicks = [
        segmenter.predict(coins, points=[p], labels=[[1] + [0] * (len(p) - 1)]).array[0]
        for p in POINTS
    ]
    everything = segmenter.everything(coins, points_per_side=8).array
    frames = {}
    tracker = segrid.Tracker(video_model, precision="fp32", device="cpu")
    with tracker.open(media / "clip.mp4") as session:
        for number, points in CLICKS.items():
            session.add(number, 0, points=points)
        for frame in session.propagate():
            frames[frame.index] = dict(zip(frame.ids, frame.masks.array, strict=True))
    shown = [*clicks, *everything, *(m for f in frames.values() for m in f.values())]
    assert len(everything) > 3 and sum(0 < m.mean() < 1 for m in shown) > len(shown) / 2, "vacuous"
    return {"clicks": clicks, "everything": everything, "frames": frames}


def of_png(text):
    """The mask of the base64 of an 8-bit gray PNG with 0 and 255."""
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as png:
        png.verify()
    with Image.open(io.BytesIO(base64.b64decode(text))) as png:
        assert (png.format, png.mode) == ("PNG", "L")
        pixels = np.asarray(png)
    assert ((pixels == 0) | (pixels == 255)).all()
    return pixels == 255


def of_runs(rle):
    return coco.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def call(client, method, path, status=200, **more):
    answer = client.request(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


def check_image(client, photo, expected):
    """Clicks and everything, as pictures and as run lengths."""
    kind = {"content-type": "image/png"}
    image = call(client, "POST", "/v1/images", 201, content=photo, headers=kind)["image_id"]
    for form, read in (("png", of_png), ("rle", of_runs)):
        for points, mask in zip(POINTS, expected["clicks"], strict=True):
            labels = [1] + [0] * (len(points) - 1)
            body = {"points": points, "labels": labels, "format": form}
            found = call(client, "POST", f"/v1/images/{image}/predict", json=body)["masks"]
            assert len(found) == 1 and np.array_equal(read(found[0]["mask"]), mask)
            assert found[0]["area"] == mask.sum()
        body = {"points_per_side": 8, "format": form}
        found = call(client, "POST", f"/v1/images/{image}/everything", json=body)["masks"]
        assert len(found) == len(expected["everything"])
        for one, mask in zip(found, expected["everything"], strict=True):
            assert np.array_equal(read(one["mask"]), mask)


def check_video(client, expected):
    """A followed video, as pictures, as run lengths, and as the video service's pictures."""
    video = call(client, "POST", "/v1/sessions", 201, json={"path": "clip.mp4"})["session_id"]
    for number, points in CLICKS.items():
        body = {"object_id": number, "frame": 0, "points": points, "labels": [1]}
        call(client, "POST", f"/v1/sessions/{video}/objects", json=body)
    job = call(client, "POST", f"/v1/sessions/{video}/propagate", 202, json={})["job_id"]
    ended(client, f"/v1/jobs/{job}")
    for form, read in (("png", of_png), ("rle", of_runs)):
        for frame, masks in expected["frames"].items():
            path = f"/v1/sessions/{video}/frames/{frame}/masks?format={form}"
            found = call(client, "GET", path)["masks"]
            assert {int(number) for number in found} == masks.keys()
            for number, mask in masks.items():
                assert np.array_equal(read(found[str(number)]["mask"]), mask)
    call_service(client, expected)
    assert client.delete(f"/v1/sessions/{video}").status_code == 204


def call_service(client, expected):
    at = "/compat/video"
    body = {"video_path": "clip.mp4"}
    video = call(client, "POST", f"{at}/initialize", json=body)["session_id"]
    for number, points in CLICKS.items():
        body = dict(session_id=video, frame_idx=0, object_id=number, points=points, labels=[1])
        call(client, "POST", f"{at}/add-object", json=body)
    found = call(client, "POST", f"{at}/propagate?wait=true", json={"session_id": video})
    assert [f["frame_idx"] for f in found["frames"]] == list(expected["frames"])
    for frame in found["frames"]:
        for number, mask in expected["frames"][frame["frame_idx"]].items():
            assert np.array_equal(of_png(frame["masks"][str(number)]), mask)
    call(client, "POST", f"{at}/session/close", json={"session_id": video})


def ended(client, path):
    deadline = time.monotonic() + 240
    while (state := call(client, "GET", path))["status"] in ("pending", "running"):
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
    assert state["status"] == "completed", state


@pytest.mark.skipif(not has_taskset(), reason="no taskset")
def test_two_cpus(served, photo, expected):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    with live_server(served, cpus=cpus, SEGRID_THREADS="2") as client:
        check_image(client, photo, expected)
        check_video(client, expected)


def test_half_of_a_cpu(served, photo, expected):
    """With a control group where one can be made; else on one CPU with one thread, which other
    work of the server shares."""
    with cpu_quota(0.5) as group:
        if group is None:
            if not has_taskset():
                pytest.skip("neither a control group can be made, nor is there taskset")
            cpu = min(os.sched_getaffinity(0))
            how = {"cpus": [cpu], "SEGRID_THREADS": "1"}
        else:
            how = {"group": group, "SEGRID_THREADS": "2"}
        with live_server(served, **how) as client:
            busy = saturated(client, photo, clients=2) if group is None else nullcontext()
            with busy:
                check_image(client, photo, expected)
                check_video(client, expected)
            assert group is None or throttled(group) > 0, "the quota was not reached"


def test_a_busy_pool(served, photo, expected):
    with live_server(served, SEGRID_THREADS="2") as client:
        with saturated(client, photo, clients=4):
            check_image(client, photo, expected)
            check_video(client, expected)


@contextmanager
def saturated(client, photo, clients):
    """A block during which as many other clients segment everything without a pause."""
    stop, done, failed = threading.Event(), [], []

    def work(number):
        other = photo + bytes(number + 1)  # another image by its bytes, and the same picture
        kind = {"content-type": "image/png"}
        try:
            image = call(client, "POST", "/v1/images", 201, content=other, headers=kind)
            path = f"/v1/images/{image['image_id']}/everything"
            while not stop.is_set():
                found = client.post(path, json={"points_per_side": 5, "format": "rle"})
                if found.status_code == 429:  # the queue is full: as intended
                    time.sleep(0.1)
                    continue
                assert found.status_code == 200, found.text
                done.append(len(found.json()["masks"]))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed and len(done) >= clients and len(set(done)) == 1, (failed, done)
