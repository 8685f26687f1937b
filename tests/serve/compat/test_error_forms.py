"""What the gate of the server refuses, in the form of the service that was called."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from segrid.serve import create_app


@pytest.fixture(scope="module")
def guarded(settings):
    """A client of a server with a token and small limits."""
    small = replace(settings, token="a secret", json_bytes=1000, image_bytes=1000, detectors=())
    with TestClient(create_app(small), headers={"authorization": "Bearer a secret"}) as client:
        yield client


CALLS = {"/compat/video/initialize": "detail", "/compat/grid/segment": "error"}


@pytest.mark.parametrize("path, field", CALLS.items())
def test_texts_are_where_front_ends_read_them(guarded, path, field):
    for status, more in {
        401: {"headers": {"authorization": "Bearer another"}, "json": {}},
        413: {"json": {"video_path": "x" * 2000}},
    }.items():
        answer = guarded.post(path, **more)
        assert answer.status_code == status
        assert answer.json().keys() == {field} and isinstance(answer.json()[field], str)
    assert "json_bytes" in answer.json()[field]


def test_an_upload_is_counted_while_it_streams(guarded):
    answer = guarded.post("/compat/grid/upload", files={"image": ("a.png", bytes(5000))})
    assert answer.status_code == 413 and "image_bytes" in answer.json()["error"]


def test_other_addresses_keep_their_form(guarded):
    answer = guarded.post("/v1/sessions", headers={"authorization": ""}, json={})
    assert answer.status_code == 401 and answer.json()["error"]["kind"] == "no_token"
    assert guarded.get("/compat/videos").json()["error"]["kind"] == "not_found"
