"""A running application, its client, and a small video."""

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from segrid.serve import Settings, create_app

from tests.models import sam2
from tests.tracking import clip
from tests.video.clips import encode


@pytest.fixture(scope="session")
def video_model(tmp_path_factory):
    """A folder of a small video model with random weights."""
    return sam2.make_video("clip", tmp_path_factory.mktemp("video_model"))


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """A folder with the video clip.mp4 of 12 frames, 160 x 120."""
    folder = tmp_path_factory.mktemp("media")
    encode(list(clip.blobs(12, 160, 120)), str(folder / "clip.mp4"))
    return folder


@pytest.fixture(scope="session")
def settings(video_model, media):
    return Settings(
        trackers=(f"clip={video_model}",), precision="fp32", media_root=str(media), device="cpu"
    )


@pytest.fixture
def started(media):
    """started(settings) -> a client of a running application, which ends with the test."""
    from contextlib import ExitStack

    with ExitStack() as running:

        def start(settings, **how):
            client = running.enter_context(TestClient(create_app(settings), **how))
            client.media = media
            return client

        yield start


@pytest.fixture
def client(started, settings):
    return started(settings)


@pytest.fixture(scope="session")
def photo(coins):
    """The bytes of a PNG."""
    return png(coins)


def png(array):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array)).save(file, "PNG")
    return file.getvalue()
