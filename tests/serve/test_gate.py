"""What callers send never makes the service hold more, and each error is counted and logged as what
it is."""

from dataclasses import replace

import pytest

from tests.serve.waiting import error_of


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json ;a=b", "APPLICATION/json"])
def test_row_50_json_in_capitals_has_the_limit_of_json(started, settings, kind):
    client = started(replace(settings, json_bytes=1000))
    long = b'{"path": "%s"}' % (b"x" * 5000)
    answer = client.post("/v1/sessions", content=long, headers={"content-type": kind})
    assert error_of(answer, 413, "too_large")["setting"] == "json_bytes"
