"""Video sessions over HTTP: the masks are the engine's, bit for bit, and every call does what its
description says."""

import io
import json
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.run_lengths import decode_rle
from segrid.serve.errors import NotFinite
from segrid.serve.mask_formats import kept
from segrid.video.snapshots import FORMAT

from tests.serve.waiting import CLICK, OCTETS, error_of, finished, held_after, opened, until

TWO = [CLICK, {"object_id": 7, "frame": 2, "box": [90, 20, 140, 80]}]


@pytest.fixture(scope="module")
def expected(video_model, media):
    """{frame: {object: mask}} of the same prompts by the engine itself."""
    tracker = segrid.Tracker(video_model, precision="fp32")
    with tracker.open(media / "clip.mp4") as session:
        session.add(1, points=[[60, 60]], labels=[1])
        session.add(7, 2, boxes=[90, 20, 140, 80])
        found = {}
        for tracked in session.propagate("both"):
            seen = ~np.isnan(tracked.scores)
            found[tracked.index] = {
                id: tracked[id].array[0]
                for id, is_there in zip(tracked.ids, seen, strict=True)
                if is_there
            }
    return found


def followed(client, direction="both"):
    address, _ = opened(client)
    for prompt in TWO:
        assert client.post(f"{address}/objects", json=prompt).status_code == 200
    started = client.post(f"{address}/propagate", json={"direction": direction})
    assert started.status_code == 202
    job = finished(client, started.json()["job_id"])
    assert job["status"] == "completed", job
    return address, job


def test_masks_are_the_engines_bit_for_bit(client, expected):
    address, job = followed(client)
    assert job["result"]["object_ids"] == [1, 7] and job["progress"] == 100
    assert sum(mask.sum() for masks in expected.values() for mask in masks.values()) > 0, "vacuous"
    for frame, masks in expected.items():
        found = client.get(f"{address}/frames/{frame}/masks").json()["masks"]
        assert found.keys() == {str(id) for id in masks}
        pngs = client.get(f"{address}/frames/{frame}/masks?format=png").json()["masks"]
        for id, mask in masks.items():
            assert np.array_equal(decode_rle(found[str(id)]["mask"]), mask)
            assert found[str(id)]["area"] == mask.sum()
            assert np.array_equal(from_png(pngs[str(id)]["mask"]), mask * np.uint8(255))
    assert set(expected) == set(range(12))


def from_png(text):
    import base64

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_label_map_of_a_frame(client, expected):
    address, _ = followed(client)
    answer = client.get(f"{address}/frames/5/masks?format=label_map").json()
    labels = from_png(answer["label_map"])
    assert labels.dtype == np.uint8 and set(np.unique(labels)) <= {0, 1, 7}
    union = np.any(list(expected[5].values()), axis=0)
    assert np.array_equal(labels > 0, union)
    assert answer["masks"]["1"]["mask"] is None


def test_refine_replace_clear_remove_reset(client, video_model, media):
    address, _ = opened(client)
    away = {**CLICK, "points": [[80, 30]], "labels": [0]}
    tracker, found = segrid.Tracker(video_model, precision="fp32"), []
    with tracker.open(media / "clip.mp4") as session:
        for prompt in (CLICK, away, {**CLICK, "replace": True}):
            answer = client.post(f"{address}/objects", json=prompt).json()
            how = {name: prompt.get(name) for name in ("points", "labels")}
            masks = session.add(1, 0, **how, replace=prompt.get("replace", False))
            assert np.array_equal(decode_rle(answer["mask"]), masks.array[0])
            found.append(answer["mask"])
    assert found[0] != found[1] != found[2], "vacuous"
    assert client.get(address).json()["objects"][0]["prompted_frames"] == [0]
    clear = f"{address}/objects/1/prompts"
    error_of(client.delete(clear, params={"frame": 3}), 422, "invalid")
    assert client.delete(clear, params={"frame": 0}).status_code == 204
    assert client.get(address).json()["objects"][0]["prompted_frames"] == []
    client.post(f"{address}/objects", json=TWO[1])
    assert client.delete(f"{address}/objects/7").status_code == 204
    assert [o["object_id"] for o in client.get(address).json()["objects"]] == [1]
    error_of(client.get(f"{address}/frames/2/masks"), 404, "no_masks")
    assert client.post(f"{address}/reset").status_code == 204
    assert client.get(address).json()["objects"] == []


def test_a_prompt_that_is_taken_back_takes_its_mask_along(client):
    """Before the object is followed, and an earlier mask comes back; after it, the mask stays."""
    address, _ = opened(client)
    mask = lambda frame: client.get(f"{address}/frames/{frame}/masks").json()["masks"]["1"]["mask"]  # noqa: E731
    client.post(f"{address}/objects", json=CLICK)
    client.post(f"{address}/objects", json={**CLICK, "frame": 5})
    clear = f"{address}/objects/1/prompts"
    assert client.delete(clear, params={"frame": 5}).status_code == 204
    error_of(client.get(f"{address}/frames/5/masks"), 404, "no_masks")
    assert client.get(address).json()["objects"][0]["frames_with_masks"] == [0]

    finished(client, client.post(f"{address}/propagate", json={}).json()["job_id"])
    before = mask(3)
    corrected = client.post(
        f"{address}/objects", json={**CLICK, "frame": 3, "points": [[80, 30]]}
    ).json()["mask"]
    assert mask(3) == corrected != before
    assert client.delete(clear, params={"frame": 3}).status_code == 204
    assert mask(3) == before
    prompted = mask(0)
    assert client.delete(clear, params={"frame": 0}).status_code == 204
    assert mask(0) == prompted


def test_prompts_of_a_session_are_limited(started, settings):
    client = started(replace(settings, max_prompts=3))
    address, _ = opened(client)
    for frame in range(3):
        client.post(f"{address}/objects", json={**CLICK, "frame": frame})
    snapshot = client.get(f"{address}/snapshot").content
    assert client.post(f"{address}/objects", json=CLICK).status_code == 200  # a refinement
    for more in ({**CLICK, "frame": 3}, {**CLICK, "object_id": 2}):
        error = error_of(client.post(f"{address}/objects", json=more), 422, "invalid")
        assert error["setting"] == "max_prompts" and "would have 4" in error["message"]
    client.delete(f"{address}/objects/1/prompts", params={"frame": 1})
    assert client.post(f"{address}/objects", json={**CLICK, "frame": 3}).status_code == 200

    few = started(replace(settings, max_prompts=2))
    other, _ = opened(few)
    error = error_of(
        few.post(f"{other}/snapshot", content=snapshot, headers=OCTETS), 422, "invalid"
    )
    assert error["setting"] == "max_prompts"


def test_a_mask_as_a_prompt_in_each_form(client):
    address, _ = opened(client)
    drawn = np.zeros((120, 160), bool)
    drawn[30:80, 40:90] = True
    file = io.BytesIO()
    Image.fromarray(drawn.astype(np.uint8) * 255).save(file, "PNG")
    import base64

    from pycocotools.mask import encode

    rle = encode(np.asfortranarray(drawn.astype(np.uint8)))
    forms = [
        {"size": [120, 160], "counts": rle["counts"].decode()},
        base64.b64encode(file.getvalue()).decode(),
    ]
    areas = []
    for form in forms:
        body = {"object_id": 3, "mask": form}
        answer = client.post(f"{address}/objects", json=body)
        assert answer.status_code == 200, answer.text
        areas.append(answer.json()["area"])
    assert areas[0] == areas[1] > 1000
    wrong = {"object_id": 3, "mask": {"size": [120, 161], "counts": "0"}}
    assert (
        "size" in error_of(client.post(f"{address}/objects", json=wrong), 422, "invalid")["message"]
    )


def test_names_categories_colours(client):
    address, _ = opened(client)
    body = {**CLICK, "name": "dog", "category": "animal"}
    added = client.post(f"{address}/objects", json=body).json()
    assert (added["name"], added["category"]) == ("dog", "animal") and len(added["color"]) == 3
    change = {"name": "cat", "color": [1, 2, 3]}
    changed = client.patch(f"{address}/objects/1", json=change).json()
    assert (changed["name"], changed["category"], changed["color"]) == ("cat", "animal", [1, 2, 3])
    error_of(client.patch(f"{address}/objects/2", json=change), 404, "not_found")


def test_frames_are_jpegs_of_the_asked_size(client):
    address, _ = opened(client)
    whole = Image.open(io.BytesIO(client.get(f"{address}/frames/3").content))
    small = Image.open(io.BytesIO(client.get(f"{address}/frames/3?long_side=80").content))
    assert whole.format == "JPEG" and whole.size == (160, 120) and small.size == (80, 60)
    error_of(client.get(f"{address}/frames/12"), 404, "frame_not_found")


def test_while_a_job_runs(client, monkeypatch):
    """Masks of frames that are done, frames, facts, names and status answer at once; what changes
    the session is refused by name; cancelling stops the job and keeps what was found."""
    address, _ = opened(client)
    client.post(f"{address}/objects", json=CLICK)
    with held_after(monkeypatch, 3):
        job_id = client.post(f"{address}/propagate", json={}).json()["job_id"]
        until(lambda: client.get(f"/v1/jobs/{job_id}").json()["done"] == 3)
        begin = time.monotonic()
        assert client.get(f"{address}/frames/2/masks").json()["masks"]["1"]["area"] > 0
        assert client.get(f"{address}/frames/9").status_code == 200
        assert client.get(address).json()["job_id"] == job_id
        assert client.patch(f"{address}/objects/1", json={"name": "a"}).status_code == 200
        assert time.monotonic() - begin < 2
        for method, path, body in [
            ("POST", "objects", CLICK),
            ("POST", "propagate", {}),
            ("POST", "reset", None),
            ("DELETE", "objects/1", None),
            ("DELETE", "objects/1/prompts?frame=0", None),
            ("GET", "snapshot", None),
            ("GET", "export", None),
        ]:
            error = error_of(client.request(method, f"{address}/{path}", json=body), 409, "busy")
            assert error["job_id"] == job_id
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
        assert finished(client, job_id)["status"] == "cancelled"
    assert client.get(address).json()["objects"][0]["frames_with_masks"][:3] == [0, 1, 2]
    assert client.post(f"{address}/objects", json=CLICK).status_code == 200


def test_a_call_that_waits_while_its_session_ends_or_is_followed(started, settings, monkeypatch):
    """A call waits for a slot while its session is closed, and another one while a job takes it:
    they are told so when it is their turn, and take no slot from others."""
    client = started(replace(settings, compute_slots=1))
    (closed, _), (followed, _) = opened(client), opened(client)
    assert client.post(f"{followed}/objects", json=CLICK).status_code == 200
    admission = client.app.state.service.admission
    client.portal.call(admission.enter, "another")
    with ThreadPoolExecutor(2) as threads, held_after(monkeypatch, 1):
        calls = [
            threads.submit(client.post, f"{a}/objects", json=CLICK) for a in (closed, followed)
        ]
        until(lambda: admission.waiting == 2)
        assert client.delete(closed).status_code == 204
        job = client.post(f"{followed}/propagate", json={}).json()["job_id"]
        client.portal.call(admission.leave, 1.0)
        error_of(calls[0].result(), 404, "not_found")
        assert error_of(calls[1].result(), 409, "busy")["job_id"] == job
        assert admission.computing == 0


def test_closing_cancels_the_job_and_removes_the_files(client, monkeypatch, media):
    folder = client.app.state.service.sessions.folder.path
    answer = client.post(
        "/v1/sessions",
        content=(media / "clip.mp4").read_bytes(),
        headers={"content-type": "video/mp4"},
    )
    session_id = answer.json()["session_id"]
    assert (folder / session_id / "video").exists()
    client.post(f"/v1/sessions/{session_id}/objects", json=CLICK)
    with held_after(monkeypatch, 2):
        job_id = client.post(f"/v1/sessions/{session_id}/propagate", json={}).json()["job_id"]
        until(lambda: client.get(f"/v1/jobs/{job_id}").json()["done"] == 2)
        assert client.delete(f"/v1/sessions/{session_id}").status_code == 204
    assert not (folder / session_id).exists()
    error_of(client.get(f"/v1/sessions/{session_id}"), 404, "not_found")
    error_of(client.get(f"/v1/jobs/{job_id}"), 404, "not_found")


def test_a_snapshot_is_taken_up_with_names_and_colours(client, expected, video_model, tmp_path):
    address, _ = followed(client)
    client.patch(f"{address}/objects/7", json={"name": "bar", "category": "x", "color": [9, 8, 7]})
    kept = client.get(f"{address}/snapshot").content
    other, _ = opened(client)
    answer = client.post(
        f"{other}/snapshot", content=kept, headers={"content-type": "application/octet-stream"}
    )
    assert answer.status_code == 200, answer.text
    before, after = client.get(address).json()["objects"], answer.json()["objects"]
    assert after == before and after[1]["color"] == [9, 8, 7] and after[1]["category"] == "x"
    for frame in range(12):
        masks = f"frames/{frame}/masks"
        assert client.get(f"{other}/{masks}").json() == client.get(f"{address}/{masks}").json()
    (tmp_path / "kept").write_bytes(kept)
    tracker = segrid.Tracker(video_model, precision="fp32")
    with tracker.restore(tmp_path / "kept", client.media / "clip.mp4") as session:
        assert session.names == {7: "bar"} and len(session.tracked_frames) == 12


def test_damaged_snapshots_leave_the_session_as_it_was(client):
    address, _ = followed(client)
    before = client.get(address).json()["objects"]
    kept = client.get(f"{address}/snapshot").content
    header = int.from_bytes(kept[:8], "little")
    damaged = [b"", b"x" * 100, kept[:1000], kept[:-5], b"\xff" * 8 + kept[8:]]
    damaged.append(kept[: header // 2] + b"!" + kept[header // 2 + 1 :])
    damaged.append(kept.replace(b"max_objects", b"max_objectz"))
    nested = {"__metadata__": {"format": FORMAT, "session": "[" * 100_000}}
    text = json.dumps(nested).encode()
    damaged.append(len(text).to_bytes(8, "little") + text)
    for content in damaged:
        answer = client.post(
            f"{address}/snapshot", content=content, headers={"content-type": "application/x"}
        )
        assert answer.status_code == 422, (answer.status_code, answer.text)
    assert client.get(address).json()["objects"] == before
    assert client.get(f"{address}/frames/3/masks").status_code == 200


@pytest.mark.parametrize("element", [b"[],", b"\\u005b"])
def test_a_header_of_millions_of_elements_is_not_read(client, element):
    """As objects of Python they would take a hundred times the memory."""
    address, _ = opened(client)
    header = b'{"__metadata__":{"session":"' + element * 4_100_000 + b'"}}'
    content = len(header).to_bytes(8, "little") + header
    answer = client.post(f"{address}/snapshot", content=content, headers=OCTETS)
    assert "elements" in error_of(answer, 422, "corrupt_file")["message"]


def test_a_snapshot_that_fails_at_its_masks_leaves_the_session_as_it_was(client, monkeypatch):
    address, _ = followed(client)
    content = client.get(f"{address}/snapshot").content
    assert client.delete(f"{address}/objects/7").status_code == 204
    before = client.get(address).json()["objects"]
    session = client.app.state.service.sessions.all()[0]
    engine = session.engine

    def fails(masks, scores, frame, ids):
        if frame == 5:
            raise NotFinite(frame, ids)
        return kept(masks, scores, frame, ids)

    with monkeypatch.context() as patched:
        patched.setattr("segrid.serve.video_session.kept", fails)
        answer = client.post(f"{address}/snapshot", content=content, headers=OCTETS)
        error_of(answer, 500, "not_finite")
    assert session.engine is engine and client.get(address).json()["objects"] == before
    assert client.get(f"{address}/frames/9/masks").status_code == 200
    assert client.post(f"{address}/objects", json=CLICK).status_code == 200, "it is not closed"


def test_facts_can_be_asked_for_while_objects_come_and_go(client):
    address, _ = opened(client)
    session = client.app.state.service.sessions.all()[0]
    ends, interval = threading.Event(), sys.getswitchinterval()

    def come_and_go():
        while not ends.is_set():
            for number in range(32):
                session.describe(number, None, None)
            for number in range(32):
                session.objects.pop(number)

    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(2000):
            session.json()
    finally:
        ends.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_exports(client, expected):
    address, _ = followed(client)
    coco = client.get(f"{address}/export?format=coco").json()
    record = coco["frames"][4]["objects"][0]
    assert np.array_equal(decode_rle(record["segmentation"]), expected[4][1])
    table = client.get(f"{address}/export?format=csv")
    assert table.headers["content-type"].startswith("text/csv") and table.text.count("\n") > 20
    with zipfile.ZipFile(io.BytesIO(client.get(f"{address}/export?format=png").content)) as pngs:
        assert len(pngs.namelist()) == 12
        labels = np.asarray(Image.open(pngs.open("00004.png")))
    assert np.array_equal(labels > 0, np.any(list(expected[4].values()), axis=0))
    video = client.get(f"{address}/export?format=overlay").content
    assert b"ftyp" in video[:12]
    fresh, _ = opened(client)
    error_of(client.get(f"{fresh}/export"), 422, "invalid")
    state = client.app.state.service.sessions.folder.path
    assert not list(state.glob("*/masks.json")), "exports leave nothing"
