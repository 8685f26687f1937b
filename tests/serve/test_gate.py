"""What callers send never makes the service hold more, and each error is counted and logged as what
it is."""

import logging
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from segrid.serve import create_app

from tests.serve.waiting import error_of


def metrics_of(client, name):
    """The lines of a metric."""
    return [line for line in client.get("/metrics").text.split("\n") if line.startswith(name)]


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json ;a=b", "APPLICATION/json"])
def test_row_50_json_in_capitals_has_the_limit_of_json(started, settings, kind):
    client = started(replace(settings, json_bytes=1000))
    long = b'{"path": "%s"}' % (b"x" * 5000)
    answer = client.post("/v1/sessions", content=long, headers={"content-type": kind})
    assert error_of(answer, 413, "too_large")["setting"] == "json_bytes"


def test_made_up_methods_leave_no_metrics(client):
    for method in ("BREW", "WHEN", "POSTS"):
        assert client.request(method, "/v1/models").status_code == 405
    found = metrics_of(client, "segrid_serve_requests_total")
    assert sum('method="other"' in line for line in found) == 1
    assert not any("BREW" in line or "WHEN" in line for line in found)


def test_all_errors_are_counted(settings, monkeypatch):
    app = create_app(replace(settings, detectors=()))
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/nothing/here")
        client.post("/v1/images/x/predict", json={"points": "no"})
        monkeypatch.setattr(app.state.service.models, "names", lambda: 1 / 0)
        assert client.get("/v1/models").status_code == 500
        found = metrics_of(client, "segrid_serve_errors_total")
    for kind in ("not_found", "invalid", "internal"):
        assert f'segrid_serve_errors_total{{kind="{kind}"}} 1.0' in found, found


def test_a_client_that_leaves_its_upload_is_no_fault_of_the_service(client, caplog):
    """Anybody can break off an upload: that is no error with a traceback in the log."""
    caplog.set_level(logging.INFO)
    pieces = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return pieces.pop(0)

    async def send(message):
        raise OSError("the client is gone")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/images",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png"), (b"host", b"testserver")],
        "client": ("127.0.0.1", 1),
    }
    client.portal.call(client.app, scope, receive, send)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert any("499" in record.getMessage() for record in caplog.records)
