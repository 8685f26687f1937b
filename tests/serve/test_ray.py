"""The service on a Ray cluster of this machine: the same answers as one process gives, also while a
replica is killed."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
import segrid

from tests.serve.live_server import free_port
from tests.serve.test_masks_of_a_live_server import call, ended, of_png, of_runs

ray = pytest.importorskip("ray")
serve = pytest.importorskip("ray.serve", reason="needs ray[serve]", exc_type=ImportError)

TOKEN = "a long random text"
CLICK = {"points": [[60, 60]], "labels": [1]}


@pytest.fixture(scope="module")
def cluster(settings):
    """The port of the service on a cluster of this machine."""
    from dataclasses import replace

    from segrid.serve.ray import deploy, remove

    port = free_port()
    monkeypatch = pytest.MonkeyPatch()
    # a busy machine is slow, not broken
    monkeypatch.setenv("RAY_worker_niceness", "0")
    for check in ("READY", "HEALTH"):
        monkeypatch.setenv(f"RAY_SERVE_PROXY_{check}_CHECK_TIMEOUT_S", "120")
    ray.init(num_cpus=6, include_dashboard=False, log_to_driver=False)
    try:
        deploy(
            replace(settings, detectors=(), token=TOKEN, max_sessions=2),
            replicas=2,
            threads=1,
            port=port,
        )
        yield port
        remove()
    finally:
        ray.shutdown()
        monkeypatch.undo()


@pytest.fixture
def client(cluster):
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{cluster}", headers=headers, timeout=180
    ) as client:
        yield client


@pytest.fixture(scope="module")
def segmenter():
    return segrid.Segmenter("tiny", precision="fp32", device="cpu")


def upload(client, photo):
    kind = {"content-type": "image/png"}
    return call(client, "POST", "/v1/images", 201, content=photo, headers=kind)["image_id"]


def processes():
    """The process numbers of the replicas."""
    handle = serve.get_deployment_handle("images", "segrid")
    return {handle.process.remote().result(timeout_s=60) for _ in range(20)}


def test_calls_about_images_survive_a_killed_replica(client, photo, coins, segmenter):
    image = upload(client, photo)
    assert upload(client, photo) == image, "equal images have one id in all replicas"
    expected = segmenter.predict(coins, points=[[[60, 60]]], labels=[[1]]).array[0]
    assert expected.any() and not expected.all(), "vacuous"
    before = processes()
    assert len(before) == 2
    answers, stop = [], threading.Event()

    def click():
        with httpx2.Client(
            base_url=client.base_url, headers=client.headers, timeout=180
        ) as another:
            while not stop.is_set():
                answers.append(another.post(f"/v1/images/{image}/predict", json=CLICK))

    with ThreadPoolExecutor(4) as pool:
        clicking = [pool.submit(click) for _ in range(4)]
        try:
            time.sleep(1)
            killed = before.pop()
            os.kill(killed, signal.SIGKILL)
            count = len(answers)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and (len(now := processes()) < 2 or killed in now):
                time.sleep(0.5)
        finally:
            stop.set()
    for clicks in clicking:
        clicks.result()  # A call that failed raises here.
    assert len(now) == 2 and killed not in now, "the replica has not been replaced"
    assert len(answers) > count + 10
    assert {answer.status_code for answer in answers} == {200}
    for text in {answer.text for answer in answers}:
        found = json.loads(text)["masks"]
        assert len(found) == 1 and np.array_equal(of_runs(found[0]["mask"]), expected)


def test_errors_are_those_of_one_process(client, cluster, photo):
    missing = {
        "error": {"kind": "not_found", "message": client.get("/v1/x").json()["error"]["message"]}
    }
    for path in ("/v1/images/unknown", "/v1/sessions/unknown", "/v1/jobs/unknown", "/v1/x"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (404, missing)
    answer = client.post("/v1/images", content=b"<html>", headers={"content-type": "image/png"})
    assert answer.status_code == 422 and "error" in answer.json()
    with httpx2.Client(base_url=f"http://127.0.0.1:{cluster}") as stranger:
        assert stranger.get("/v1/models").status_code == 401
        assert stranger.get("/v1/health").status_code == 200
    for _ in range(2):  # the first DELETE takes back one of two uploads
        image = upload(client, photo + b"another")
    assert client.delete(f"/v1/images/{image}").status_code == 204
    assert client.get(f"/v1/images/{image}").status_code == 200
    assert client.delete(f"/v1/images/{image}").status_code == 204
    for method in ("GET", "DELETE"):
        assert client.request(method, f"/v1/images/{image}").status_code == 404


def test_a_second_service_on_the_cluster_is_refused(cluster, settings):
    from segrid.serve.ray import deploy

    with pytest.raises(RuntimeError, match="has the service already"):
        deploy(settings)


def test_a_job_about_an_image(client, photo, coins, segmenter):
    image = upload(client, photo)
    body = {"points_per_side": 6, "wait": False, "format": "png"}
    job = call(client, "POST", f"/v1/images/{image}/everything", 202, json=body)["job_id"]
    ended(client, f"/v1/jobs/{job}")
    found = call(client, "GET", f"/v1/jobs/{job}")["result"]["masks"]
    expected = segmenter.everything(coins, points_per_side=6).array
    assert len(found) == len(expected) > 2
    for one, mask in zip(found, expected, strict=True):
        assert np.array_equal(of_png(one["mask"]), mask)


def test_sessions_are_actors(client, video_model, media):
    tracker = segrid.Tracker(video_model, precision="fp32", device="cpu")
    first, second = (
        call(client, "POST", "/v1/sessions", 201, json={"path": "clip.mp4"})["session_id"]
        for _ in range(2)
    )
    full = client.post("/v1/sessions", json={"path": "clip.mp4"})
    assert full.status_code == 429 and full.json()["error"]["setting"] == "max_sessions"
    body = {"object_id": 1, "frame": 0, "points": [[110, 55]], "labels": [1]}
    call(client, "POST", f"/v1/sessions/{first}/objects", json=body)
    job = call(client, "POST", f"/v1/sessions/{first}/propagate", 202, json={})["job_id"]
    kinds = []
    with client.stream("GET", f"/v1/jobs/{job}/events") as events:
        kinds = [line for line in events.iter_lines() if line.startswith("event: ")]
    assert kinds.count("event: masks") == 12 and kinds[-1] == "event: end"
    with tracker.open(media / "clip.mp4") as session:
        session.add(1, 0, points=[[110, 55]])
        for frame in session.propagate():
            path = f"/v1/sessions/{first}/frames/{frame.index}/masks?format=png"
            found = call(client, "GET", path)["masks"]["1"]["mask"]
            assert np.array_equal(of_png(found), frame.masks.array[0])
    assert client.delete(f"/v1/sessions/{first}").status_code == 204
    assert client.get(f"/v1/sessions/{first}").status_code == 404
    assert client.get(f"/v1/jobs/{job}").status_code == 404

    actor = ray.get_actor(_actor_of(second), "segrid")
    os.kill(ray.get(actor.process.remote()), signal.SIGKILL)
    assert client.get(f"/v1/sessions/{second}").status_code == 410
    assert client.get(f"/v1/sessions/{second}").status_code == 404
    third = call(client, "POST", "/v1/sessions", 201, json={"path": "clip.mp4"})["session_id"]
    assert client.delete(f"/v1/sessions/{third}").status_code == 204


def _actor_of(session_id):
    from segrid.serve.ray_forward import DIRECTORY, NAMESPACE

    return ray.get(ray.get_actor(DIRECTORY, NAMESPACE).session.remote(session_id))


def test_the_services_that_exist(client):
    at = "/compat/video"
    opened = call(client, "POST", f"{at}/initialize", json={"video_path": "clip.mp4"})
    assert opened["total_frames"] == 12
    call(client, "POST", f"{at}/session/close", json={"session_id": opened["session_id"]})
