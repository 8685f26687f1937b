import pytest
import segrid

from tests.models import sam2


@pytest.fixture(scope="session")
def video_model(tmp_path_factory):
    """A folder of a small video model with random weights."""
    return sam2.make_video("small", tmp_path_factory.mktemp("video_model"))


@pytest.fixture(scope="session")
def tracker(video_model):
    return segrid.Tracker(video_model, precision="fp32")
