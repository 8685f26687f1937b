"""What callers send never makes the service hold more, and each error is counted and logged as what
it is."""

from dataclasses import replace

import pytest

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
