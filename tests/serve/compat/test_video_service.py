"""The video service that exists (FastAPI around SAM 2, port 8002): its front end's calls, answered
as it answers them. The masks are held against a session of segrid with the same prompts."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load_file, save_file
from segrid.serve import create_app
from segrid.serve.compat.video_frames import FirstFrames
from segrid.serve.jobs import Job
from segrid.serve.server import AtPort
from segrid.video.sources import open_frames

from tests.serve.compat.conftest import FRAMES, SIZE
from tests.serve.compat.video_front_end import HEALTH, FrontEnd, picture_of, png_of
from tests.serve.waiting import held_after, until

CLICK, BOX = [[90, 45]], [30, 50, 60, 85]


def session_beside(tracker, path, most=300, longest=1920):
    """A session of segrid over the frames that the service has."""
    return tracker.open(FirstFrames(open_frames(path), most, longest))


def as_pixels(masks):
    """255 where the object is."""
    return masks.array[0].view(np.uint8) * np.uint8(255)


def test_the_calls_of_a_front_end(front_end, film, tracker):
    front_end.get("/", HEALTH)
    before = front_end.get("/health", HEALTH)
    assert before["status"] == "healthy" and before["model_loaded"]
    assert abs(before["timestamp"] - time.time()) < 60
    opened = front_end.initialize(film, model_size="tiny")
    assert opened["video_path"] == str(film) and opened["total_frames"] == FRAMES
    assert (opened["frame_height"], opened["frame_width"], opened["fps"]) == (*SIZE, 10)
    id = opened["session_id"]
    assert front_end.get("/health", HEALTH)["active_sessions"] == before["active_sessions"] + 1

    with session_beside(tracker, film) as beside:
        added = front_end.add(id, 1, 0, CLICK, [1], name="Forceps", category="Instrument")
        assert (added["object_id"], added["frame_idx"]) == (1, 0)
        assert (added["name"], added["category"]) == ("Forceps", "Instrument")
        expected = as_pixels(beside.add(1, 0, points=CLICK, labels=[1]))
        assert expected.any() and not expected.all(), "vacuous"
        assert np.array_equal(picture_of(added["mask"]), expected)

        boxed = front_end.add_box(id, 4, 0, BOX)
        assert (boxed["name"], boxed["category"]) == ("Object 4", "")
        assert added["color"] == [255, 0, 0] and boxed["color"] == [0, 255, 0]
        expected = as_pixels(beside.add(4, 0, boxes=BOX)[[1]])
        assert np.array_equal(picture_of(boxed["mask"]), expected)

        seen = front_end.propagate(id)
        progress = [state["progress"] for state in seen]
        assert progress == sorted(progress) and progress[-1] == 100
        last = seen[-1]
        assert last["status"] == "completed" and last["error"] is None
        assert last["job_type"] == "propagate_masks"
        assert last["result"] == {"session_id": id, "total_frames": FRAMES, "object_ids": [1, 4]}
        assert last["created_at"] <= last["started_at"] <= last["completed_at"]
        followed = {f.index: f for f in beside.propagate("both")}
        for frame in (0, 7, FRAMES - 1):
            found = front_end.masks(id, frame)
            assert found.keys() == {1, 4}
            for object_id, pixels in found.items():
                assert np.array_equal(pixels, as_pixels(followed[frame][object_id]))

        refined = front_end.refine(id, 1, 7, [[30, 25], [80, 60]], [1, 0])
        expected = beside.add(1, 7, points=[[30, 25], [80, 60]], labels=[1, 0], replace=True)
        assert np.array_equal(picture_of(refined["mask"]), as_pixels(expected[[0]]))

        drawn = np.zeros(SIZE, np.uint8)
        drawn[10:40, 20:70] = 255
        updated = front_end.update_mask(id, 4, 9, png_of(drawn))
        expected = as_pixels(beside.add(4, 9, mask=drawn > 0)[[1]])
        assert np.array_equal(picture_of(updated["mask"]), expected)

    status = front_end.status(id)
    assert [(o["object_id"], o["name"], o["category"]) for o in status["objects"]] == [
        (1, "Forceps", "Instrument"),
        (4, "Object 4", ""),
    ]
    assert [o["frames_with_masks"] for o in status["objects"]] == [FRAMES, FRAMES]
    assert status["created_at"] <= status["last_accessed"] and status["idle_time"] < 60
    assert front_end.close(id)["session_id"] == id
    assert front_end.client.get(f"/session/{id}").status_code == 404
    assert front_end.get("/health", HEALTH)["active_sessions"] == before["active_sessions"]


def test_the_older_form_of_propagate_answers_with_all_masks(front_end, film, tracker):
    id = front_end.initialize(film)["session_id"]
    with session_beside(tracker, film) as beside:
        front_end.add(id, 2, 5, CLICK, [1])
        beside.add(2, 5, points=CLICK, labels=[1])
        found = front_end.propagate_and_wait(id, direction="both")
        assert list(found) == list(range(FRAMES))
        for frame in beside.propagate("both"):
            assert np.array_equal(found[frame.index][2], as_pixels(frame.masks))
    front_end.close(id)


@pytest.mark.parametrize(
    "asked, frames",
    [
        (dict(direction="forward"), range(5, FRAMES)),
        (dict(direction="backward"), range(0, 6)),
        (dict(), range(FRAMES)),
        (dict(direction=None, start_frame=None, end_frame=None), range(FRAMES)),
        (dict(start_frame=3, end_frame=9), range(3, 10)),
        (dict(start_frame=3, end_frame=9, direction="forward"), range(5, 10)),
        (dict(start_frame=3, end_frame=9, direction="backward"), range(3, 6)),
        (dict(start_frame=12, direction="forward"), range(12, FRAMES)),
        (dict(end_frame=2, direction="backward"), range(0, 3)),
        (dict(end_frame=FRAMES + 50, direction="forward"), range(5, FRAMES)),
    ],
)
def test_propagate_follows_the_frames_that_are_asked_for(front_end, film, asked, frames):
    id = front_end.initialize(film)["session_id"]
    front_end.add(id, 1, 5, CLICK, [1])
    assert list(front_end.propagate_and_wait(id, **asked)) == list(frames)
    front_end.close(id)


def test_another_add_of_an_object_in_a_frame_starts_it_again(front_end, film, tracker):
    """There a new prompt of add-object takes the place of the clicks of that frame."""
    id = front_end.initialize(film)["session_id"]
    with session_beside(tracker, film) as beside:
        first = front_end.add(id, 1, 0, CLICK, [1])
        front_end.refine(id, 1, 0, [[60, 50]], [1])
        again = front_end.add(id, 1, 0, CLICK, [0], name="again")
        beside.add(1, 0, points=CLICK, labels=[1])
        beside.add(1, 0, points=[[60, 50]], labels=[1], replace=True)
        expected = beside.add(1, 0, points=CLICK, labels=[0], replace=True)
    assert np.array_equal(picture_of(again["mask"]), as_pixels(expected))
    assert again["name"] == "again" and again["color"] == first["color"]
    front_end.close(id)


def test_statuses_and_texts_of_refusals(front_end, film, tmp_path):
    assert front_end.refused("/initialize", {"video_path": str(film) + "x"}) == (
        404,
        f"Video not found: {film}x",
    )
    assert front_end.refused("/initialize", {"video_path": "/etc/passwd"})[0] == 404
    assert front_end.client.post("/initialize", json={}).status_code == 422
    for path in ("/job/nothing/status", "/session/nothing"):
        assert front_end.client.get(path).status_code == 404
    assert front_end.refused("/session/close", {"session_id": "x"}) == (404, "Session not found: x")
    nowhere = dict(session_id="x", frame_idx=0, object_id=1)
    clicks = dict(points=CLICK, labels=[1])
    for path, body in {
        "/add-object": nowhere | clicks,
        "/add-object-box": nowhere | {"box": [1, 2, 30, 40]},
        "/refine": nowhere | clicks,
        "/update-mask": nowhere | {"mask": png_of(np.zeros(SIZE, np.uint8))},
        "/propagate": {"session_id": "x"},
        "/frame-masks": {"session_id": "x", "frame_idx": 0},
    }.items():
        assert front_end.refused(path, body) == (400, "Session not found: x"), path

    id = front_end.initialize(film)["session_id"]
    here = nowhere | {"session_id": id}
    assert front_end.refused("/propagate", {"session_id": id}) == (400, "No objects to propagate")
    assert front_end.refused("/refine", here | clicks) == (400, "Object not found: 1")
    beyond = here | clicks | {"frame_idx": FRAMES}
    assert front_end.refused("/add-object", beyond) == (400, f"Invalid frame index: {FRAMES}")
    for path, body in {
        "/add-object": here | dict(points=CLICK, labels=[1, 0]),
        "/add-object-box": here | dict(box=[1, 2, 3]),
    }.items():
        assert front_end.refused(path, body)[0] == 422
    outside = here | dict(points=[[1000, 5]], labels=[1])
    assert front_end.refused("/add-object", outside)[0] == 400
    front_end.add(id, 1, 0, CLICK, [1])
    for mask in ("no base64!", png_of(np.zeros((3, 4), np.uint8)), "aGVsbG8="):
        assert front_end.refused("/update-mask", here | {"mask": mask})[0] == 400
    front_end.close(id)


def test_a_mask_may_be_in_any_form_that_an_editor_gives(front_end, film):
    """Gray with 0 and 1, or a canvas with colours and transparency."""
    id = front_end.initialize(film)["session_id"]
    front_end.add(id, 1, 0, CLICK, [1])
    drawn = np.zeros(SIZE, np.uint8)
    drawn[10:40, 20:70] = 1
    gray = front_end.update_mask(id, 1, 0, png_of(drawn * 255))["mask"]
    assert front_end.update_mask(id, 1, 0, png_of(drawn))["mask"] == gray
    canvas = np.repeat(drawn[..., None] * 255, 4, axis=2)
    assert front_end.update_mask(id, 1, 0, png_of(canvas))["mask"] == gray
    front_end.close(id)


def test_the_limits_of_the_service(make_front_end, film):
    """Frames beyond MAX_VIDEO_FRAMES are left out, larger ones are reduced, and a third session
    waits for one of two to be closed."""
    with make_front_end(MAX_VIDEO_FRAMES="12", MAX_FRAME_DIMENSION="50") as front_end:
        opened = front_end.initialize(film)
        assert opened["total_frames"] == 12
        assert (opened["frame_width"], opened["frame_height"]) == (50, 37)
        id = opened["session_id"]
        assert picture_of(front_end.add(id, 1, 0, [[37, 18]], [1])["mask"]).shape == (37, 50)
        assert list(front_end.propagate_and_wait(id)) == list(range(12))
        second = front_end.initialize(film)["session_id"]
        third = front_end.client.post("/initialize", json={"video_path": str(film)})
        assert third.status_code == 503 and int(third.headers["Retry-After"]) >= 1
        assert "MAX_CONCURRENT_SESSIONS" in third.json()["detail"]
        front_end.close(second)
        front_end.close(front_end.initialize(film)["session_id"])
        front_end.close(id)


def test_idle_sessions_end(make_front_end, film):
    with make_front_end(SESSION_TIMEOUT="1") as front_end:
        id = front_end.initialize(film)["session_id"]
        time.sleep(1.2)
        answer = front_end.client.post("/cleanup")
        assert answer.status_code == 200 and answer.json().keys() == {"message"}
        deadline = time.time() + 10
        while front_end.get("/health", HEALTH)["active_sessions"] and time.time() < deadline:
            time.sleep(0.05)
        assert front_end.client.get(f"/session/{id}").status_code == 404


def test_a_job_keeps_its_session(make_front_end, film):
    """There a session must not time out while its masks are propagated."""
    with make_front_end(SESSION_TIMEOUT="1") as front_end:
        id = front_end.initialize(film)["session_id"]
        front_end.add(id, 1, 0, CLICK, [1])
        assert front_end.propagate(id)[-1]["status"] == "completed"
        assert front_end.masks(id, 3)[1].shape == SIZE


def test_a_job_that_is_refused_leaves_the_session_free(settings, film, monkeypatch):
    """Where no more jobs may be pending, the session takes other calls and can be closed."""
    app = create_app(replace(settings, running_jobs=1, pending_jobs=1))
    with TestClient(AtPort(app, 80, "/compat/video")) as client, held_after(monkeypatch, 1):
        front_end = FrontEnd(client)
        first, second = (front_end.initialize(film)["session_id"] for _ in range(2))
        for id in (first, second):
            front_end.add(id, 1, 0, CLICK, [1])
        job = client.post("/propagate", json={"session_id": first}).json()["job_id"]
        until(lambda: client.get(f"/job/{job}/status").json()["status"] == "running")
        service = app.state.service
        client.portal.call(
            lambda: service.jobs.start(Job("waits"), lambda job: {}, service.job_threads)
        )
        status, _ = front_end.refused("/propagate", {"session_id": second})
        assert status == 429
        front_end.add(second, 1, 0, CLICK, [1])
        assert client.post("/session/close", json={"session_id": second}).status_code == 200


def test_a_front_end_reads_the_openapi_document(front_end):
    paths = front_end.client.get("/openapi.json").json()["paths"]
    assert {(m.upper(), p) for p, methods in paths.items() for m in methods} == {
        ("GET", "/"),
        ("GET", "/health"),
        ("POST", "/initialize"),
        ("GET", "/session/{session_id}"),
        ("POST", "/session/close"),
        ("POST", "/cleanup"),
        ("POST", "/add-object"),
        ("POST", "/add-object-box"),
        ("POST", "/refine"),
        ("POST", "/update-mask"),
        ("POST", "/propagate"),
        ("GET", "/job/{job_id}/status"),
        ("POST", "/frame-masks"),
    }


def test_the_page_of_the_documentation_finds_its_document(front_end):
    """On a port of its own, too, where addresses have the prefix once and not twice."""
    client = front_end.client
    page = client.get("/docs").text
    (named,) = re.findall(r"url: '([^']+)'", page)
    document = client.get(named).json()
    server = document["servers"][0]["url"]
    assert client.get(f"{server}/health").json()["status"] == "healthy"
    assert client.get("/health/").json()["status"] == "healthy", "after a redirection"


def test_masks_that_are_no_numbers_are_errors(settings, video_model, film, tmp_path):
    """There they become empty pictures. Here the job fails and says where; frames before that one
    keep their masks, and that one has none."""
    weights = load_file(video_model / "model.safetensors")
    weights["memory_temporal_positional_encoding"][:] = 3e38
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((video_model / "config.json").read_bytes())
    app = create_app(replace(settings, trackers=(f"bad={tmp_path}",)))
    with TestClient(AtPort(app, 80, "/compat/video")) as client:
        front_end = FrontEnd(client)
        id = front_end.initialize(film)["session_id"]
        front_end.add(id, 3, 0, CLICK, [1])
        last = front_end.propagate(id)[-1]
        assert last["status"] == "failed" and last["result"] is None
        assert last["error"].startswith("frame 1, object 3: ")
        assert front_end.masks(id, 0).keys() == {3} and front_end.masks(id, 1) == {}
        status, text = front_end.refused("/propagate?wait=true", {"session_id": id})
        assert status == 500 and text == last["error"]
        assert app.state.service.metrics.not_finite._value.get() == 2
