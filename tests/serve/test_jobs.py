"""Jobs over HTTP: events that can be read again from any number, by both streams; waiting, ends."""

import json
import struct
import time
from dataclasses import replace

import pytest
from segrid.run_lengths import decode_rle
from segrid.serve.job_events import HEAD, MAGIC, OBJECT
from starlette.websockets import WebSocketDisconnect

from tests.serve.waiting import CLICK, error_of, finished, held_after, opened, until


@pytest.fixture
def followed(client):
    """The address of a session that was followed, and its job."""
    address, _ = opened(client)
    client.post(f"{address}/objects", json=CLICK)
    job = client.post(f"{address}/propagate", json={}).json()
    finished(client, job["job_id"])
    return address, job["job_id"]


def events_of(text):
    """[(id, event, data)] of server-sent events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if line[:1] not in ("", ":")
        )
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_events_in_order_with_all_masks(client, followed):
    address, job_id = followed
    answer = client.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    kinds = [kind for _, kind, _ in events]
    assert kinds.count("masks") == 12 and kinds[-1] == "end" and kinds.count("end") == 1
    for _, kind, data in events:
        if kind == "masks":
            masks = client.get(f"{address}/frames/{data['frame']}/masks").json()
            assert data == {"frame": masks["frame"], "masks": masks["masks"]}
    progress = [data["progress"] for _, kind, data in events if kind == "progress"]
    assert progress == sorted(progress) and 0 < progress[3] < 100
    assert events[-1][2]["status"] == "completed"


def test_events_go_on_after_any_number(client, followed):
    _, job_id = followed
    whole = events_of(client.get(f"/v1/jobs/{job_id}/events").text)
    for after in (0, 1, 7, len(whole) - 1, len(whole), 10**6):
        header = client.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": str(after)})
        assert events_of(header.text) == whole[after:]
        parameter = client.get(f"/v1/jobs/{job_id}/events?after={after}")
        assert events_of(parameter.text) == whole[after:]
    odd = client.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": "x"})
    assert events_of(odd.text) == whole


def test_the_websocket_tells_the_same(client, followed):
    _, job_id = followed
    whole = events_of(client.get(f"/v1/jobs/{job_id}/events").text)
    found = []
    with client.websocket_connect(f"/v1/jobs/{job_id}/stream?after=4") as socket:
        with pytest.raises(WebSocketDisconnect):
            while True:
                message = socket.receive()
                if message["type"] == "websocket.close":
                    raise WebSocketDisconnect(message["code"])
                found.append(message.get("text") or message["bytes"])
    assert len(found) == len(whole) - 4
    for message, (number, kind, data) in zip(found, whole[4:], strict=True):
        if kind == "masks":
            assert unpacked(message) == (number, data)
        else:
            assert json.loads(message) == {"id": number, "event": kind, "data": data}


def unpacked(message):
    """(event, {"frame", "masks"}) of a binary message, by the layout of the documentation."""
    magic, number, frame, height, width, count = HEAD.unpack_from(message)
    assert magic == MAGIC
    place, masks = HEAD.size, {}
    for _ in range(count):
        identity, score, area, *box, length = OBJECT.unpack_from(message, place)
        place += OBJECT.size
        rle = {"size": [height, width], "counts": message[place : place + length].decode()}
        place += length
        assert decode_rle(rle).sum() == area
        masks[str(identity)] = {"mask": rle, "score": score, "area": area, "box": box}
    assert place == len(message)
    return number, {"frame": frame, "masks": masks}


def test_layout_of_binary_messages():
    assert (HEAD.size, OBJECT.size, MAGIC) == (24, 32, b"SGM1")
    assert struct.calcsize("<4s5I") == HEAD.size


def test_a_websocket_of_no_job_is_refused(client):
    with pytest.raises(WebSocketDisconnect) as refused:
        with client.websocket_connect("/v1/jobs/nothing/stream"):
            pass
    assert refused.value.code in (1008, 403) or refused.value.code == 1000


def test_jobs_wait_for_each_other(started, settings, monkeypatch):
    """One runs, one is pending, the third is refused; a pending one is cancelled at once."""
    client = started(replace(settings, running_jobs=1, pending_jobs=1))
    addresses = [opened(client)[0] for _ in range(3)]
    for address in addresses:
        client.post(f"{address}/objects", json=CLICK)
    with held_after(monkeypatch, 2):
        first = client.post(f"{addresses[0]}/propagate", json={}).json()["job_id"]
        until(lambda: client.get(f"/v1/jobs/{first}").json()["done"] == 2)
        second = client.post(f"{addresses[1]}/propagate", json={}).json()["job_id"]
        assert client.get(f"/v1/jobs/{second}").json()["status"] == "pending"
        refused = client.post(f"{addresses[2]}/propagate", json={})
        error = error_of(refused, 429, "too_many_jobs")
        assert error["setting"] == "pending_jobs" and int(refused.headers["retry-after"]) >= 1
        client.delete(f"/v1/jobs/{second}")
        assert finished(client, second)["status"] == "cancelled"
        assert client.get(f"/v1/jobs/{first}").json()["status"] == "running"
        third = client.post(f"{addresses[2]}/propagate", json={}).json()["job_id"]
    assert finished(client, first)["status"] == "completed"
    assert finished(client, third)["status"] == "completed"


def test_a_job_whose_frame_cannot_be_read_keeps_what_it_found(client):
    from tests.video.clips import clip_bytes

    whole = clip_bytes(30, (120, 160), fragmented=True, options={"g": "5"})
    answer = client.post(
        "/v1/sessions",
        content=whole[: len(whole) * 2 // 3],
        headers={"content-type": "video/mp4"},
    )
    assert answer.status_code == 201, answer.text
    address = f"/v1/sessions/{answer.json()['session_id']}"
    client.post(f"{address}/objects", json=CLICK)
    job = finished(client, client.post(f"{address}/propagate", json={}).json()["job_id"])
    assert job["status"] == "failed" and job["error"]["kind"] == "corrupt_file", job
    assert "frame" in job["error"]["message"] and job["done"] > 3
    assert str(client.app.state.service.sessions.folder.path) not in json.dumps(job)
    assert client.get(f"{address}/frames/{job['done'] - 1}/masks").status_code == 200


def test_a_job_of_an_object_without_a_prompt_says_so(client):
    address, _ = opened(client)
    client.post(f"{address}/objects", json=CLICK)
    client.post(f"{address}/objects", json={**CLICK, "object_id": 2})
    client.delete(f"{address}/objects/1/prompts", params={"frame": 0})
    job = finished(client, client.post(f"{address}/propagate", json={}).json()["job_id"])
    assert job["status"] == "failed" and job["error"]["kind"] == "invalid", job
    assert "object 1 has no prompt" in job["error"]["message"]


def test_finished_jobs_are_forgotten(started, settings):
    client = started(replace(settings, kept_jobs=2))
    address, _ = opened(client)
    client.post(f"{address}/objects", json=CLICK)
    jobs = []
    for _ in range(4):
        jobs.append(client.post(f"{address}/propagate", json={"frames": 1}).json()["job_id"])
        until(lambda: not client.get(address).json()["job_id"])
    assert [client.get(f"/v1/jobs/{job}").status_code for job in jobs] == [404, 404, 200, 200]


def test_the_masks_of_finished_jobs_are_limited(started, settings, followed, client):
    """Those of results and of events; the last job can always be asked for."""
    held = client.app.state.service.jobs.get(followed[1]).held
    counts = [
        mask["mask"]["counts"]
        for _, kind, data in events_of(client.get(f"/v1/jobs/{followed[1]}/events").text)
        if kind == "masks"
        for mask in data["masks"].values()
    ]
    assert held > sum(map(len, counts)) > 100
    for fits, expected in ((0.5, [404, 404, 200]), (2.5, [404, 200, 200])):
        limited = started(replace(settings, jobs_bytes=int(fits * held)))
        address, _ = opened(limited)
        limited.post(f"{address}/objects", json=CLICK)
        jobs = []
        for _ in range(3):
            jobs.append(limited.post(f"{address}/propagate", json={}).json()["job_id"])
            finished(limited, jobs[-1])
        assert [limited.get(f"/v1/jobs/{job}").status_code for job in jobs] == expected


def test_row_59_a_clock_that_jumps_ends_nothing(client, followed, monkeypatch):
    """Sessions and finished jobs live as long as they should when the clock is set."""
    service, address = client.app.state.service, opened(client)[0]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    client.portal.call(service.sessions.close_idle)
    client.portal.call(service.jobs.forget_old)
    assert client.get(address).json()["idle_s"] < 60
    assert client.get(f"/v1/jobs/{followed[1]}").status_code == 200


def test_followed_frames_are_counted(client, followed):
    """By both interfaces."""
    assert "segrid_serve_frames_total 12.0" in client.get("/metrics").text
    at = "/compat/video"
    video = client.post(f"{at}/initialize", json={"video_path": "clip.mp4"}).json()["session_id"]
    click = {"session_id": video, "frame_idx": 0, **CLICK}
    assert client.post(f"{at}/add-object", json=click).status_code == 200
    asked = {"session_id": video, "end_frame": 4}
    assert client.post(f"{at}/propagate?wait=true", json=asked).status_code == 200
    assert "segrid_serve_frames_total 17.0" in client.get("/metrics").text


def test_streams_are_limited(started, settings, monkeypatch):
    client = started(replace(settings, streams=1))
    address, _ = opened(client)
    client.post(f"{address}/objects", json=CLICK)
    with held_after(monkeypatch, 1):
        job_id = client.post(f"{address}/propagate", json={}).json()["job_id"]
        with client.websocket_connect(f"/v1/jobs/{job_id}/stream") as socket:
            socket.receive()
            refused = client.get(f"/v1/jobs/{job_id}/events")
            assert error_of(refused, 429, "too_many_streams")["setting"] == "streams"
        client.delete(f"/v1/jobs/{job_id}")
        until(lambda: client.app.state.service.streams == 0)
