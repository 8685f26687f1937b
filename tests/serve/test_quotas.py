"""Who may call, and what a caller may cost: each limit is kept and named."""

import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from tests.serve.conftest import png
from tests.serve.waiting import CLICK, error_of, finished, opened, until

OCTETS = {"content-type": "application/octet-stream"}


def test_row_50_bodies_are_counted_while_they_stream(started, settings):
    client = started(replace(settings, image_bytes=100_000, json_bytes=10_000, video_bytes=200_000))
    sent = []

    def endless():
        for _ in range(10_000):
            sent.append(1)
            yield b"\0" * 10_000

    for address, setting, limit in [
        ("/v1/images", "image_bytes", 100_000),
        ("/v1/sessions", "video_bytes", 200_000),
    ]:
        sent.clear()
        answer = client.post(address, content=endless(), headers=OCTETS)
        error = error_of(answer, 413, "too_large")
        assert error["setting"] == setting and str(limit) in error["message"]
        declared = client.post(address, content=b"", headers={**OCTETS, "content-length": "9" * 15})
        error_of(declared, 413, "too_large")
    long = json.dumps({"points": [[1, 1]] * 5000})
    answer = client.post(
        "/v1/images/x/predict", content=long, headers={"content-type": "application/json"}
    )
    assert error_of(answer, 413, "too_large")["setting"] == "json_bytes"
    form = {"image": ("a.png", b"\0" * 150_000)}
    assert error_of(client.post("/v1/images", files=form), 413, "too_large")
    assert client.app.state.service.sessions.folder.leftovers() == []


def test_row_50_types_and_forms(client):
    error_of(
        client.post("/v1/images", content=b"x", headers={"content-type": "text/html"}),
        415,
        "wrong_content_type",
    )
    error_of(client.post("/v1/images", content=b"x"), 415, "wrong_content_type")
    tiny_parts = {f"part{i}": str(i) for i in range(10_000)}
    answer = client.post("/v1/images", data=tiny_parts, files={"image": b"x"})
    assert answer.status_code == 400, answer.text
    answer = client.post("/v1/images", files=[("image", b"x"), ("image", b"y")])
    assert answer.status_code == 400
    error_of(client.post("/v1/images", files={"other": b"x"}), 422, "invalid")
    broken = {"content-type": "multipart/form-data; boundary=a"}
    assert client.post("/v1/images", content=b"--b\r\n", headers=broken).status_code in (400, 422)
    error_of(
        client.post(
            "/v1/images/x/predict", content=b"{", headers={"content-type": "application/json"}
        ),
        400,
        "not_json",
    )


def test_row_51_ids_are_no_paths_and_all_answers_are_the_same(client):
    address, session = opened(client)
    texts = set()
    for odd in [
        "../../etc",
        "%2e%2e",
        "%2e%2e%2f%2e%2e%2fetc",
        "a%00b",
        "x" * 50_000,
        "0" * 32,
        session["session_id"].upper() + "0",
        ".",
        "%F0%9F%98%80",
        "clip.mp4",
    ]:
        for kind in ("sessions", "images", "jobs"):
            answer = client.get(f"/v1/{kind}/{odd}")
            assert answer.status_code in (404, 405), (odd, answer.status_code)
            if answer.status_code == 404:
                texts.add(answer.text)
    assert len(texts) == 1, "the text does not tell what exists"
    ids = [opened(client)[1]["session_id"] for _ in range(3)]
    assert len({*ids}) == 3 and all(len(bytes.fromhex(id)) == 16 for id in ids)


@pytest.fixture
def outside(media, tmp_path):
    """Ways out of the media root, and the file to which they lead."""
    target = tmp_path / "secret.mp4"
    target.write_bytes((media / "clip.mp4").read_bytes())
    links = [media / "link.mp4", media / "folder-link", media / "frames"]
    links[0].symlink_to(target)
    links[1].symlink_to(tmp_path)
    links[2].mkdir()
    (tmp_path / "0001.png").write_bytes(png(np.zeros((64, 64, 3), np.uint8)))
    (links[2] / "0001.png").symlink_to(tmp_path / "0001.png")
    yield target
    (links[2] / "0001.png").unlink()
    links[2].rmdir()
    for link in links[:2]:
        link.unlink()


def test_row_52_nothing_outside_the_media_root_is_opened(client, outside, media):
    texts = set()
    for path in [
        str(outside),
        "../" + outside.name,
        "link.mp4",
        "folder-link/secret.mp4",
        "frames",
        "file://" + str(outside),
        "http://127.0.0.1:1/x.mp4",
        "/etc/passwd",
        "clip.mp4\0",
        "x" * 4000,
        ".",
        "..",
        "nothing.mp4",
        "concat:clip.mp4|clip.mp4",
        "/dev/zero",
        f"{media}/../{outside.parent.name}/{outside.name}",
    ]:
        answer = client.post("/v1/sessions", json={"path": path})
        error_of(answer, 404, "no_video")
        texts.add(answer.text)
    assert len(texts) == 1
    assert client.post("/v1/sessions", json={"path": str(media / "clip.mp4")}).status_code == 201


def test_row_52_no_paths_without_a_media_root(started, settings, outside):
    client = started(replace(settings, media_root=""))
    error = error_of(client.post("/v1/sessions", json={"path": str(outside)}), 403, "not_allowed")
    assert error["setting"] == "media_root"


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:1/</BaseURL></MPD>",
        b"not a video",
    ],
)
def test_row_52_playlists_are_no_videos(client, content):
    answer = client.post("/v1/sessions", content=content, headers=OCTETS)
    error = error_of(answer, 422, "corrupt_file")
    assert str(client.app.state.service.sessions.folder.path) not in error["message"]
    assert client.app.state.service.sessions.folder.leftovers() == []


def test_row_53_sessions_are_capped_and_time_out(started, settings):
    client = started(replace(settings, max_sessions=2, session_timeout=0.6))
    addresses = [opened(client)[0] for _ in range(2)]
    answer = client.post("/v1/sessions", json={"path": "clip.mp4"})
    assert error_of(answer, 429, "too_many_sessions")["setting"] == "max_sessions"
    assert int(answer.headers["retry-after"]) >= 1
    folder = client.app.state.service.sessions.folder
    assert len(folder.leftovers()) == 2
    until(lambda: folder.leftovers() == [], 10)
    assert client.get(addresses[0]).status_code == 404
    assert client.post("/v1/sessions", json={"path": "clip.mp4"}).status_code == 201


def test_row_53_a_thousand_abandoned_sessions_leave_nothing(started, settings):
    """Memory, threads and open files do not grow; most are ended by the time-out."""
    import threading

    import psutil

    client = started(replace(settings, max_sessions=4, session_timeout=0.05))
    process, service = psutil.Process(), client.app.state.service
    done = 0

    def open_some(count):
        nonlocal done
        while done < count:
            answer = client.post("/v1/sessions", json={"path": "clip.mp4"})
            assert answer.status_code in (201, 429)
            done += answer.status_code == 201

    def state():
        return process.memory_info().rss, threading.active_count(), process.num_fds()

    open_some(200)  # after which allocators have what they keep
    rss, threads, files = state()
    open_some(1000)
    until(lambda: len(service.sessions) == 0, 10)
    after = state()
    assert after[0] < rss + (40 << 20), f"{(after[0] - rss) >> 20} MiB more"
    assert after[1] <= threads + 4 and after[2] <= files + 8
    until(lambda: service.sessions.folder.leftovers() == [], 10)


@pytest.mark.parametrize(
    "limit, setting",
    [({"video_frames": 5}, "video_frames"), ({"video_pixels": 1000}, "video_pixels")],
)
def test_large_videos_name_the_setting(started, settings, limit, setting):
    client = started(replace(settings, **limit))
    answer = client.post("/v1/sessions", json={"path": "clip.mp4"})
    assert error_of(answer, 413, "too_large")["setting"] == setting


def test_objects_are_capped(started, settings):
    client = started(replace(settings, max_objects=2))
    address, _ = opened(client)
    for number in (1, 2, 1):
        answer = client.post(f"{address}/objects", json={**CLICK, "object_id": number})
        assert answer.status_code == 200
    third = client.post(f"{address}/objects", json={**CLICK, "object_id": 3})
    assert error_of(third, 422, "invalid")["setting"] == "max_objects"
    job = client.post(f"{address}/propagate", json={"frames": 2}).json()
    assert finished(client, job["job_id"])["status"] == "completed"


def test_the_token(started, settings):
    client = started(replace(settings, token="s3cret"))
    for headers in [
        {},
        {"authorization": "Bearer no"},
        {"authorization": "Basic s3cret"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer \u00e9".encode("latin-1")},
    ]:
        for address in ("/v1/models", "/metrics", "/v1/sessions/x"):
            error_of(client.get(address, headers=headers), 401, "no_token")
        for address in ("/compat/video/health", "/compat/grid/upload"):
            assert client.get(address, headers=headers).status_code == 401
    assert client.get("/v1/models?token=s3cret").status_code == 401
    good = {"authorization": "Bearer s3cret"}
    assert client.get("/v1/models", headers=good).status_code == 200
    for address in ("/v1/health", "/v1/ready", "/docs", "/openapi.json"):
        assert client.get(address).status_code == 200


def test_the_token_of_a_websocket(started, settings):
    from starlette.websockets import WebSocketDisconnect

    client = started(replace(settings, token="s3cret"))
    for protocols, code in [(None, 1008), (["segrid.bearer.no"], 1008)]:
        with pytest.raises(WebSocketDisconnect) as refused:
            with client.websocket_connect("/v1/jobs/x/stream", subprotocols=protocols):
                pass
        assert refused.value.code == code and refused.value.reason == "no_token"
    with pytest.raises(WebSocketDisconnect) as refused:
        with client.websocket_connect("/v1/jobs/x/stream", subprotocols=["segrid.bearer.s3cret"]):
            pass
    assert refused.value.reason == "not_found"


def test_pages_of_other_sites_may_not_call(started, settings):
    named = replace(settings, hosts=("TestServer:80",), cors=("http://Tool.example/",))
    client = started(named)
    evil = {"origin": "http://evil.example"}
    error_of(client.post("/v1/images", content=b"x", headers=evil), 403, "other_site")
    for own in ("http://testserver", "http://tool.example"):
        answer = client.post("/v1/images", content=b"x", headers={"origin": own})
        assert answer.status_code == 415
    error_of(client.get("/v1/health", headers={"host": "evil.example"}), 421, "wrong_host")
    for host in ("testserver.evil.example", "evil@testserver", "[", ""):
        assert client.get("/v1/health", headers={"host": host}).status_code == 421
    assert "access-control-allow-origin" not in client.get("/v1/health", headers=evil).headers


def test_cors_is_open_to_named_origins_alone(started, settings):
    client = started(replace(settings, cors=("http://tool.example",), token="t"))
    ask = {
        "origin": "http://tool.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    answer = client.options("/v1/images", headers=ask)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://tool.example"
    other = client.options("/v1/images", headers={**ask, "origin": "http://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_errors_show_no_internals(client, monkeypatch):
    """After an unexpected exception the caller gets the request's id, the log the traceback."""
    from segrid.serve.images import Images

    def broken(self, image_id):
        raise ZeroDivisionError("/root/secret")

    monkeypatch.setattr(Images, "get", broken)
    answer = client.get("/v1/images/x", headers={"x-request-id": "abc-1"})
    error = error_of(answer, 500, "internal")
    assert "secret" not in answer.text and "abc-1" in error["message"]
    assert answer.headers["x-request-id"] == "abc-1"
    odd = client.get("/v1/health", headers={"x-request-id": "a b<script>"})
    assert odd.headers["x-request-id"] != "a b<script>"


def test_messages_lose_the_folders_of_the_server():
    from segrid.serve.errors import shown

    text = "/srv/models/secret/model.safetensors: damaged; 3/4 of '/tmp/a b' are and/or missing"
    assert "/srv" not in shown(ValueError(text)) and "/tmp/" not in shown(ValueError(text))
    assert "model.safetensors: damaged; 3/4 of" in shown(ValueError(text))
    assert shown(KeyError("the name x")) == "the name x"


def test_bodies_under_way_are_bounded_together(started, settings):
    client = started(replace(settings, bodies_in_memory=1000))
    long = json.dumps({"points": [[1, 1]] * 500})
    answer = client.post(
        "/v1/images/x/predict", content=long, headers={"content-type": "application/json"}
    )
    error = error_of(answer, 429, "busy_server")
    assert error["setting"] == "bodies_in_memory"
    short = client.post("/v1/images/x/predict", json={"points": [[1, 1]]})
    assert error_of(short, 404, "not_found"), "what was counted is given back"


def test_temporary_folders_of_killed_servers_are_removed(tmp_path, monkeypatch):
    import tempfile

    from segrid.serve.state_folder import StateFolder

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running = StateFolder("")
    left = tmp_path / "segrid-serve-left"
    left.mkdir()
    (left / "in-use").write_bytes(b"")
    (left / ("0" * 32)).mkdir()
    (tmp_path / "segrid-serve-link").symlink_to(tmp_path)
    other = StateFolder("")
    assert not left.exists() and running.path.exists() and other.path.exists()
    running.close()
    other.close()
    assert os.listdir(tmp_path) == ["segrid-serve-link"]
    with StateFolderOf(tmp_path / "given") as folder:
        with pytest.raises(ValueError, match="another server"):
            StateFolder(str(folder.path))
        (folder.path / ("0" * 32)).mkdir()
        with folder.scratch() as scratch:
            assert os.path.dirname(scratch) == str(folder.path)
        left = folder.path / "scratch-of-a-crash"
        left.mkdir()
    with StateFolderOf(tmp_path / "given") as folder:
        assert not left.exists() and folder.leftovers() == ["0" * 32]


class StateFolderOf:
    def __init__(self, path):
        from segrid.serve.state_folder import StateFolder

        self._folder = StateFolder(str(path))

    def __enter__(self):
        return self._folder

    def __exit__(self, *error):
        self._folder.close()


def test_picture_of_an_image_is_upright_and_reduced(client, photo):
    from PIL import Image

    image = client.post("/v1/images", content=photo, headers=OCTETS).json()
    content = client.get(f"/v1/images/{image['image_id']}/picture?long_side=100").content
    assert Image.open(io.BytesIO(content)).size == (100, 79)
