"""The OpenAPI document is complete, and what the service answers is what it says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serve.waiting import CLICK, opened

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
CALLS = 27  # of /v1 and /metrics


@pytest.fixture(scope="module")
def running(video_model, media):
    from fastapi.testclient import TestClient
    from segrid.serve import Settings, create_app

    known = Settings(
        trackers=(f"clip={video_model}",),
        media_root=str(media),
        max_sessions=64,
        everything_points=6,
        everything_crop_layers=1,
    )
    with TestClient(create_app(known)) as client:
        yield client


def own_calls(client):
    document = client.get("/openapi.json").json()
    return {
        (path, method): call
        for path, methods in document["paths"].items()
        if path.startswith("/v1") or path == "/metrics"
        for method, call in methods.items()
    }


def test_every_call_is_described(running):
    calls = own_calls(running)
    assert len(calls) >= CALLS
    for (path, method), call in calls.items():
        where = f"{method} {path}"
        assert call.get("description"), where
        assert {"400", "404", "422", "429", "500", "503"} <= call["responses"].keys(), where
        success = [status for status in call["responses"] if status < "300"]
        assert success, where
        for status in call["responses"]:
            if status >= "400":
                content = call["responses"][status]["content"]["application/json"]
                assert content["schema"]["$ref"].endswith("/ErrorAnswer"), where


def test_answers_to_generated_requests(running, photo):
    """Each call gets generated requests, some with ids that exist; none is answered with a fault,
    or otherwise than the document says."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", running.app)
    address, _ = opened(running)
    running.post(f"{address}/objects", json=CLICK)
    job = running.post(f"{address}/propagate", json={"frames": 2}).json()["job_id"]
    sent = running.post("/v1/images", files={"image": ("a.png", photo)}).json()
    known = {
        "session_id": address.rpartition("/")[2],
        "image_id": sent["image_id"],
        "job_id": job,
        "name": "tiny",
    }
    statuses = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if not operation.path.startswith("/v1"):
            continue
        ends = operation.method == "delete" and operation.path.count("/") == 3
        for ids in ({}, {} if ends else known):
            statuses |= exercised(running, operation, ids)
    assert {200, 404, 422} <= statuses, statuses


def exercised(client, operation, known):
    """The statuses of generated requests of one operation."""
    statuses = set()
    strategy = operation.as_strategy()

    from hypothesis import given

    @given(case=strategy)
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    def run(case):
        for name, value in known.items():
            if case.path_parameters and name in case.path_parameters:
                case.path_parameters[name] = value
        answer = case.call(session=client)
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    run()
    return statuses
