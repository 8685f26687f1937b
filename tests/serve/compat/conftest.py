"""The two services that exist, each at the root as on a port of its own, and what they need."""

from contextlib import contextmanager

import pytest
import segrid
from fastapi.testclient import TestClient
from segrid.serve import create_app
from segrid.serve.server import AtPort

from tests.serve.compat.video_front_end import FrontEnd
from tests.tracking import clip
from tests.video.clips import encode

SIZE = (90, 120)  # H, W of the film
FRAMES = 20


@pytest.fixture(scope="session")
def film(media):
    """A video below the media root."""
    path = media / "film.mp4"
    encode(list(clip.blobs(FRAMES, SIZE[1], SIZE[0])), str(path))
    return path


@pytest.fixture(scope="session")
def tracker(video_model):
    """The model of the service."""
    return segrid.Tracker(video_model, precision="fp32", device="cpu")


@pytest.fixture
def make_front_end(settings, monkeypatch):
    """make_front_end(**variables): a front end of a server with these environment variables."""

    @contextmanager
    def made(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        app = create_app(settings)
        with TestClient(AtPort(app, 80, "/compat/video")) as client:
            yield FrontEnd(client, app)

    return made


@pytest.fixture(scope="module")
def front_end(settings):
    with TestClient(AtPort(create_app(settings), 80, "/compat/video")) as client:
        yield FrontEnd(client)


@pytest.fixture(scope="module")
def grid(settings):
    """A client of the grid tool."""
    with TestClient(AtPort(create_app(settings), 80, "/compat/grid")) as client:
        yield client


@pytest.fixture(scope="session")
def segmenter():
    """The model of the tool."""
    return segrid.Segmenter("tiny", precision="fp32", device="cpu")
