"""A server in a process of its own: signals, slow and flooding clients, restarts, logs, the
client."""

import json
import signal
import subprocess
import sys
import threading
import time

import httpx2
import numpy as np
import pytest
import segrid
from segrid.client import Client, ServiceError

from tests.serve.live import answer_of, is_closed_within, live
from tests.serve.waiting import until
from tests.tracking import clip
from tests.video.clips import encode

SLOW = ["--set", "header_seconds=1", "--set", "body_pause=1", "--set", "body_seconds=4"]


@pytest.fixture(scope="module")
def options(video_model, media):
    return ["--tracker", f"clip={video_model}", "--media-root", media, "--precision", "fp32"]


@pytest.fixture(scope="module")
def server(options, tmp_path_factory):
    """A server that the tests share; those that end one start their own."""
    log = tmp_path_factory.mktemp("server") / "log"
    limits = ["--set", "image_bytes=2000000", "--set", "connections=64"]
    with live(log, *options, *SLOW, *limits, "--log-json") as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    encode(list(clip.blobs(150, 160, 120)), str(path))
    return path


def test_the_client_finds_what_the_engine_finds(client, media, coins, video_model):
    assert client.ready() and [m["name"] for m in client.models()][0] == "tiny"
    image = client.image(coins)
    found = image.predict(points=[[150, 50]], labels=[1])[0]
    expected = segrid.Segmenter(precision="fp32").predict(coins, points=[[[150, 50]]], labels=[[1]])
    assert np.array_equal(found.array, expected.array[0]) and found.stability is not None
    again = client.image_of(image.image_id).predict(points=[[150, 50]], hint=found.array)[0]
    assert again.area > 0
    seen = []
    many = image.everything(points_per_side=6, progress=seen.append)
    assert many == image.everything(points_per_side=6) and seen[-1]["done"] > 0
    assert isinstance(image.detect("a coin", threshold=0.0), list)
    with client.session(media / "clip.mp4") as session:
        assert (session.frames, session.width, session.height) == (12, 160, 120)
        first = session.add(1, points=[[60, 60]], labels=[1], name="blob")
        frames = dict(session.propagate(progress=seen.append))
        assert list(frames) == list(range(12)) and seen[-1]["progress"] > 50
        assert np.array_equal(frames[0][1].array, first.array)
        assert session.masks(7)[1] == frames[7][1]
        by_mask = session.add(2, mask=first.array)
        assert by_mask.area > 0 and session.picture(3)[:2] == b"\xff\xd8"
        session.remove(2)
        session.change(1, name="other")
        assert [o["name"] for o in session.facts()["objects"]] == ["other"]
    with pytest.raises(ServiceError) as gone:
        session.facts()
    assert gone.value.status == 404 and gone.value.kind == "not_found"


def test_an_error_of_a_proxy_is_a_service_error():
    """Its body may have another form, such as a text in the field `error`."""
    sent = httpx2.MockTransport(lambda request: httpx2.Response(403, json={"error": "no entry"}))
    with Client("http://proxy", transport=sent) as client:
        with pytest.raises(ServiceError, match="no entry") as error:
            client.models()
    assert (error.value.status, error.value.kind) == (403, "error")


def test_a_loop_that_is_left_cancels_its_job(client, long_clip):
    with client.session(long_clip) as session:
        session.add(1, points=[[60, 60]])
        for frame, _ in session.propagate():
            if frame == 3:
                break
        until(lambda: session.facts()["job_id"] is None)
        assert len(session.facts()["objects"][0]["frames_with_masks"]) < 150


def test_a_lost_stream_is_taken_up_where_it_was(server, long_clip):
    """The connection breaks after each few kilobytes; every event comes once and in order."""

    class Breaking(httpx2.HTTPTransport):
        breaks = 0

        def handle_request(self, request):
            answer = super().handle_request(request)
            if request.url.path.endswith("/events"):
                whole, Breaking.breaks = answer.stream, Breaking.breaks + 1

                class Cut(httpx2.SyncByteStream):
                    def __iter__(self):
                        left = 20_000
                        for piece in whole:
                            yield piece
                            left -= len(piece)
                            if left < 0:
                                raise httpx2.ReadError("cut")

                    def close(self):
                        whole.close()

                answer.stream = Cut()
            return answer

    with Client(server.url, transport=Breaking()) as client, client.session(long_clip) as session:
        session.add(1, points=[[60, 60]])
        numbers = [number for number, _, _ in session.start(frames=60).events()]
    assert numbers == list(range(1, len(numbers) + 1)) and Breaking.breaks > 2


def test_row_50_slow_headers_and_silence_are_dropped(server):
    silent, slow = server.connect(), server.connect()
    slow.sendall(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    stop = time.monotonic() + 6
    closed = False
    while not closed and time.monotonic() < stop:
        try:
            slow.sendall(b"X: y\r\n")
            closed = is_closed_within(slow, 0.3)
        except OSError:
            closed = True
    assert closed and is_closed_within(silent, 3)
    again = server.connect()  # the second request of a connection is watched, too
    again.sendall(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    time.sleep(0.3)
    again.sendall(b"GET /v1/health HTTP")
    assert is_closed_within(again, 5)


def test_row_50_slow_bodies_are_408(server):
    begin = (
        b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        b"Content-Length: 1000\r\n\r\nabc"
    )
    pausing, trickling = server.connect(), server.connect()
    for connection in (pausing, trickling):
        connection.sendall(begin)
    assert b" 408 " in answer_of(pausing, 5)
    for _ in range(12):  # a byte in time, but never the whole
        time.sleep(0.5)
        try:
            trickling.sendall(b"x")
        except OSError:
            break
    assert b" 408 " in answer_of(trickling, 5)


def test_row_50_a_chunked_flood_is_413_and_leaves_no_memory(server):
    def flood():
        connection = server.connect()
        connection.sendall(
            b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"\0" * 65536 + b"\r\n"
        try:
            for _ in range(400):  # 26 MB, where 2 MB are allowed
                connection.sendall(chunk)
        except OSError:
            pass
        answers.append(answer_of(connection, 5))
        connection.close()

    answers = []
    flood()
    before = server.rss
    threads = [threading.Thread(target=flood) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.rss < before + (60 << 20)
    assert httpx2.get(server.url + "/v1/health").status_code == 200
    assert any(b" 413 " in answer for answer in answers)


def test_row_51_an_id_of_a_megabyte(server):
    connection = server.connect()
    try:
        connection.sendall(b"GET /v1/sessions/" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n")
    except OSError:
        pass
    found = answer_of(connection, 5)
    assert found == b"" or found.split(b" ")[1] in (b"400", b"404", b"414")
    assert httpx2.get(server.url + "/v1/health").status_code == 200


def test_many_silent_connections_do_not_stop_the_server(server):
    connections = []
    for _ in range(200):
        try:
            connections.append(server.connect())
        except OSError:
            break
    until(lambda: answers(server), 20)
    for connection in connections:
        connection.close()


def answers(server):
    """Whether it answers; connections above its limit are reset."""
    try:
        return httpx2.get(server.url + "/v1/health").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_request_of_a_client_that_left_is_cancelled(server, client, coins):
    """Everything with many points takes long; when the client leaves, the slot is free soon."""
    image = client.image(np.kron(coins, np.ones((4, 4, 1), np.uint8)))
    connection = server.connect()
    body = json.dumps({"points_per_side": 64, "crop_n_layers": 1}).encode()
    connection.sendall(
        b"POST /v1/images/" + image.image_id.encode() + b"/everything HTTP/1.1\r\n"
        b"Host: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    until(lambda: metric(server, "segrid_serve_computing") == 1)
    connection.close()
    begin = time.monotonic()
    until(lambda: metric(server, "segrid_serve_computing") == 0, 10)
    assert time.monotonic() - begin < 5
    assert '"status": 499' in server.log or '"status": 503' in server.log


def metric(server, name):
    for line in httpx2.get(server.url + "/metrics").text.split("\n"):
        if line.startswith(name + " "):
            return float(line.split()[-1])
    raise AssertionError(name)


def test_logs_are_json_with_the_ids_of_requests(server):
    httpx2.get(server.url + "/v1/models/tiny", headers={"x-request-id": "find-me"})
    until(lambda: "find-me" in server.log)
    lines = [json.loads(line) for line in server.log.splitlines()]
    line = next(line for line in lines if line["request_id"] == "find-me")
    assert line["route"] == "/v1/models/{name}" and line["status"] == 200
    assert line["method"] == "GET" and line["ms"] > 0 and line["level"] == "info"


def test_warnings_are_logged_each_time_with_the_request(server, client, coins):
    """Texts of callers in warnings are not remembered, which would let memory grow."""
    image = client.image(coins)
    for _ in range(2):
        image.detect("a very long text " * 20, threshold=0.9)
    found = [json.loads(line) for line in server.log.splitlines() if "is cut off" in line]
    assert len(found) == 2 and len({line["request_id"] for line in found} - {"-"}) == 2


def test_row_54_sigterm_under_load(options, tmp_path, long_clip, coins):
    """It accepts no more, finishes requests, cancels the job at the deadline, and ends with 0."""
    statuses, stop = [], threading.Event()
    with live(tmp_path / "log", *options, "--grace", "3") as server:
        with Client(server.url, retries=0) as client:
            image = client.image(coins)
            session = client.session(long_clip)
            session.add(1, points=[[60, 60]])
            job = session.start("both")

            def load():
                while not stop.is_set():
                    try:
                        image.predict(points=[[150, 50]])
                        statuses.append(200)
                    except ServiceError as error:
                        statuses.append(error.status)
                    except httpx2.HTTPError:
                        return

            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: job.status()["done"] > 3 and len(statuses) > 10)
            begin = time.monotonic()
            assert server.end() == 0
            assert time.monotonic() - begin < 3 + 8  # and the end of the process, on a busy machine
            stop.set()
            for thread in threads:
                thread.join()
        with pytest.raises(OSError):
            server.connect()
    assert set(statuses) <= {200, 503} and 200 in statuses


def test_sigterm_lets_a_short_job_finish(options, tmp_path, media):
    with live(tmp_path / "log", *options, "--grace", "20") as server:
        with Client(server.url) as client:
            session = client.session_at("clip.mp4")
            session.add(1, points=[[60, 60]])
            job = session.start()
            found = []
            reader = threading.Thread(target=lambda: found.extend(job.events()))
            reader.start()
            until(lambda: found)
            assert server.end() == 0
            reader.join()
    assert found[-1][1] == "end" and found[-1][2]["status"] == "completed"


def test_a_restart_takes_up_the_sessions(options, tmp_path, media):
    state = tmp_path / "state"
    options = [*options, "--state-dir", state, "--restore", "--grace", "5"]
    with live(tmp_path / "log", *options) as server, Client(server.url) as client:
        by_path, uploaded = client.session_at("clip.mp4"), client.session(media / "clip.mp4")
        for session in (by_path, uploaded):
            session.add(1, points=[[60, 60]], name="blob")
            list(session.propagate())
        before = [(s.facts()["objects"], s.masks(9)) for s in (by_path, uploaded)]
        assert server.end() == 0
    with live(tmp_path / "log", *options) as server, Client(server.url) as client:
        found = [client.session_of(s.session_id) for s in (by_path, uploaded)]
        assert [(s.facts()["objects"], s.masks(9)) for s in found] == before
        found[0].add(1, 5, points=[[70, 50]])
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert not list(state.rglob("*.part")), "no half files"
    with live(tmp_path / "log", *options) as server, Client(server.url) as client:
        assert client.session_of(by_path.session_id).masks(9) == before[0][1]
    plain = [*options]
    plain.remove("--restore")
    with live(tmp_path / "log", *plain) as server:
        assert [p.name for p in state.iterdir()] == ["in-use"], "sessions of a crash are removed"


@pytest.mark.parametrize(
    "options, says",
    [
        (["--workers", "4"], "one process"),
        (["--host", "0.0.0.0"], "token"),
        (["--set", "max_session=1"], "max_session"),
        (["--set", "token"], "expected NAME=VALUE"),
        (["--model", "/nowhere/model"], "no such"),
        (["--restore"], "state_dir"),
        (["--compat", "other"], "compat"),
    ],
)
def test_a_start_that_cannot_be_says_why(options, says):
    command = [sys.executable, "-m", "segrid", "serve", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken(server):
    command = [sys.executable, "-m", "segrid", "serve", "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and str(server.port) in done.stderr


def test_clients_share_the_server_fairly(server, client, coins):
    """One client with many requests delays another one by its own share alone: see
    test_admission.py. Here nothing is lost under load."""
    image = client.image(coins)
    found = []

    def click():
        for _ in range(5):
            found.append(image.predict(points=[[150, 50]])[0])

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40 and all(mask == found[0] for mask in found)
