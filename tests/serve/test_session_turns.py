"""Calls of one session take turns, and a snapshot from outside sets no limit of the service."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from safetensors.numpy import load, save
from segrid.serve.service import FILE_THREADS
from segrid.serve.video_session import VideoSession
from segrid.video.snapshots import checksum

from tests.serve.waiting import CLICK, OCTETS, error_of, opened, until


def edited(snapshot, **options):
    """A snapshot with other options of the session."""
    begin = 8 + int.from_bytes(snapshot[:8], "little")
    metadata = json.loads(snapshot[8:begin])["__metadata__"]
    facts, arrays = json.loads(metadata["session"]), load(snapshot)
    facts["options"].update(options)
    session = json.dumps(facts)
    changed = {"session": session, "checksum": checksum(session, arrays)}
    return save(arrays, metadata | changed)


@pytest.mark.parametrize("option", ["history", "memory_stride", "pointers"])
def test_a_snapshot_sets_no_option_that_makes_a_session_larger(client, option):
    address, _ = opened(client)
    client.post(f"{address}/objects", json=CLICK)
    snapshot = client.get(f"{address}/snapshot").content
    larger = edited(snapshot, **{option: 1000})
    answer = client.post(f"{address}/snapshot", content=larger, headers=OCTETS)
    assert f"opened with {option}=" in error_of(answer, 422, "invalid")["message"]
    other = edited(snapshot, memory_frames=3)
    assert client.post(f"{address}/snapshot", content=other, headers=OCTETS).status_code == 200


@pytest.fixture
def slow(client, monkeypatch):
    """Sessions whose calls of `reset` wait until the event is set."""
    go_on, reset = threading.Event(), VideoSession.reset
    monkeypatch.setattr(VideoSession, "reset", lambda self: go_on.wait(30) and reset(self))
    yield go_on
    go_on.set()


def test_calls_that_wait_for_their_session_take_no_slot(client, slow):
    (one, _), (other, _) = opened(client), opened(client)
    admission = client.app.state.service.admission
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(client.post, f"{one}/reset") for _ in range(3)]
        session = client.app.state.service.sessions.all()[0]
        until(lambda: session._calls == 3)
        assert admission.computing == 1 and admission.waiting == 0
        assert client.post(f"{other}/objects", json=CLICK).status_code == 200
        slow.set()
        assert {call.result().status_code for call in calls} == {204}


def test_a_session_stays_open_while_a_call_uses_it(client, slow):
    address, _ = opened(client)
    sessions = client.app.state.service.sessions
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.post, f"{address}/reset")
        session = sessions.all()[0]
        until(lambda: session.is_in_use)
        session._used -= 10_000
        client.portal.call(sessions.close_idle)
        assert sessions.all() == [session]
        slow.set()
        assert call.result().status_code == 204
    client.portal.call(sessions.close_idle)
    assert sessions.all() == [session], "the end of a call is a use"
    session._used -= 10_000
    client.portal.call(sessions.close_idle)
    assert sessions.all() == []


def test_too_many_calls_of_one_session_are_refused(started, settings, monkeypatch):
    client = started(replace(settings, queue_per_client=2))
    go_on = threading.Event()
    monkeypatch.setattr(VideoSession, "reset", lambda self: go_on.wait(30))
    address, _ = opened(client)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(client.post, f"{address}/reset") for _ in range(2)]
        until(lambda: client.app.state.service.sessions.all()[0]._calls == 2)
        error = error_of(client.post(f"{address}/reset"), 429, "busy_server")
        assert error["setting"] == "queue_per_client"
        go_on.set()
        assert {call.result().status_code for call in calls} == {204}


def test_frames_that_take_long_to_decode_hold_up_no_masks(client, monkeypatch):
    address, _ = opened(client)
    assert client.post(f"{address}/objects", json=CLICK).status_code == 200
    engine = client.app.state.service.sessions.all()[0].engine
    go_on, read = threading.Event(), engine.picture
    monkeypatch.setattr(engine, "picture", lambda frame: go_on.wait(30) and read(frame))
    with ThreadPoolExecutor(FILE_THREADS) as threads:
        pictures = [
            threads.submit(client.get, f"{address}/frames/{frame}") for frame in range(FILE_THREADS)
        ]
        time.sleep(0.3)
        begin = time.monotonic()
        assert client.get(f"{address}/frames/0/masks").json()["masks"]["1"]["area"] > 0
        assert time.monotonic() - begin < 10
        go_on.set()
        assert {picture.result().status_code for picture in pictures} == {200}
