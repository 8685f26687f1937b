"""The environment variables of the video service."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from segrid.serve import Settings, create_app
from segrid.serve.compat.video_sessions import ServiceSessions
from segrid.serve.compat.video_settings import VideoServiceSettings
from segrid.serve.server import AtPort

read = VideoServiceSettings.from_environment


def test_the_defaults_are_those_of_the_service():
    found = read({})
    assert (found.session_timeout, found.max_sessions) == (300, 2)
    assert (found.max_frames, found.max_dimension) == (300, 1920)
    assert found.model is found.precision is found.device is found.threads is None
    assert found.options == {}
    assert read({"SAM2_MODEL_SIZE": "", "MAX_VIDEO_FRAMES": " "}) == found


def test_every_variable_is_read(tmp_path):
    found = read(
        {
            "SESSION_TIMEOUT": "900",
            "MAX_CONCURRENT_SESSIONS": "5",
            "MAX_VIDEO_FRAMES": "150",
            "MAX_FRAME_DIMENSION": "1280",
            "SAM2_MODEL_SIZE": "base_plus",
            "SAM2_DEVICE": "cpu",
            "SAM2_QUANTIZE": "true",
            "SAM2_MEMORY_BANK_SIZE": "4",
            "SAM2_MAX_MEM_FRAMES": "3",
            "SAM2_DISABLE_POSTPROC": "true",
            "OMP_NUM_THREADS": "4,2",
            "TORCH_NUM_THREADS": "2",
            "MODEL_DIR": str(tmp_path),
        }
    )
    assert (found.session_timeout, found.max_sessions) == (900, 5)
    assert (found.max_frames, found.max_dimension) == (150, 1280)
    assert found.model == "facebook/sam2.1-hiera-base-plus"
    assert (found.device, found.precision, found.threads) == ("cpu", "int8", 2)
    assert found.options == {"memory_frames": 4, "pointers": 3, "max_hole_area": 0}
    off = read({"SAM2_QUANTIZE": "false", "SAM2_DISABLE_POSTPROC": "false"})
    assert off.precision == "fp32" and off.options == {}


def test_model_dir_is_looked_in_first(tmp_path):
    for name in ("tiny", "sam2.1-hiera-small"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    here = {"MODEL_DIR": str(tmp_path)}
    assert read({**here, "SAM2_MODEL_SIZE": "tiny"}).model == str(tmp_path / "tiny")
    small = read({**here, "SAM2_MODEL_SIZE": "small"}).model
    assert small == str(tmp_path / "sam2.1-hiera-small")
    assert read({**here, "SAM2_MODEL_SIZE": "large"}).model == "facebook/sam2.1-hiera-large"


@pytest.mark.parametrize(
    "name, value",
    [
        ("SAM2_MODEL_SIZE", "huge"),
        ("SAM2_QUANTIZE", "yes please"),
        ("SAM2_DEVICE", "tpu"),
        ("MAX_VIDEO_FRAMES", "0"),
        ("SESSION_TIMEOUT", "-1"),
        ("MAX_CONCURRENT_SESSIONS", "two"),
        ("SAM2_MEMORY_BANK_SIZE", "1.5"),
    ],
)
def test_a_wrong_value_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}: .*{value.split()[0]}"):
        read({name: value})


def test_the_model_is_loaded_with_the_settings(make_front_end, film, video_model, tmp_path):
    """A model of MODEL_DIR takes the place of the server's, with the precision and the memory that
    the variables ask for."""
    (tmp_path / "tiny").symlink_to(video_model)
    variables = dict(
        MODEL_DIR=str(tmp_path),
        SAM2_MODEL_SIZE="tiny",
        SAM2_QUANTIZE="false",
        SAM2_MEMORY_BANK_SIZE="2",
    )
    with make_front_end(**variables) as front_end:
        sessions = front_end.app.state.parts["video"].sessions
        assert isinstance(sessions, ServiceSessions)
        assert sessions.tracker().precision == "fp32"
        id = front_end.initialize(film)["session_id"]
        assert sessions.get(id).engine._options["memory_frames"] == 2
        front_end.add(id, 1, 0, [[90, 45]], [1])
        few = front_end.propagate_and_wait(id)
        front_end.close(id)
    with make_front_end(SAM2_MEMORY_BANK_SIZE="7") as front_end:
        id = front_end.initialize(film)["session_id"]
        front_end.add(id, 1, 0, [[90, 45]], [1])
        many = front_end.propagate_and_wait(id)
    assert any((few[f][1] != many[f][1]).any() for f in few), "the memory makes no difference"


def test_without_a_model_the_service_says_so(settings, film):
    app = create_app(replace(settings, trackers=()))
    with TestClient(AtPort(app, 80, "/compat/video")) as client:
        health = client.get("/health").json()
        assert (health["status"], health["model_loaded"]) == ("unhealthy", False)
        answer = client.post("/initialize", json={"video_path": str(film)})
        assert answer.status_code == 503 and "trackers" in answer.json()["detail"]
    with TestClient(app) as client:
        assert client.get("/compat/video/health").json()["status"] == "unhealthy"
        assert client.get("/initialize").status_code == 404
        assert client.post("/compat/video/initialize", json={}).status_code == 422


def test_services_may_be_left_out():
    with TestClient(create_app(Settings(compat=("grid",)))) as client:
        assert client.get("/compat/video/health").status_code == 404
        assert client.post("/compat/grid/segment", json={}).status_code == 400
    with pytest.raises(ValueError, match="compat: .*segment_anything"):
        Settings(compat=("segment_anything",))
