"""segrid, transformers and segment-anything with the same seeded random weights."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import models
from tests.tracking.originals import originals_in


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


class Trio:
    """Our model and segment_anything's on equal weights, and an image."""

    def __init__(self, folder, image):
        self.folder, self.image = folder, image
        self.theirs = models.sam.to_segment_anything(folder)
        self.on("cpu")

    def on(self, device):
        import segrid

        self.device = device
        self.ours = segrid.Segmenter(self.folder, precision="fp32", device=device)
        return self

    def predictor(self):
        from segment_anything import SamPredictor

        predictor = SamPredictor(self.theirs)
        predictor.set_image(self.image)
        return predictor


def smooth_image():
    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    # The image is not square, and larger than the sides of the models.
    return np.asarray(Image.fromarray(noise).resize((233, 150), Image.BICUBIC))


def packaged():
    import segrid
    import skimage.data

    image = np.repeat(skimage.data.coins()[:, :, None], 3, axis=2)
    return Trio(Path(segrid.__file__).parent / "models/tiny", image)


PRESETS = ["small", "tester", "wide", "packaged"]


@pytest.fixture(scope="session", params=PRESETS)
def trio(request, tmp_path_factory):
    if request.param == "packaged":
        return packaged()
    folder = models.sam.make(request.param, tmp_path_factory.mktemp(request.param))
    return Trio(folder, smooth_image())


@pytest.fixture
def everywhere(trio, device):
    """A trio on each device."""
    yield copy.copy(trio).on(device)


@pytest.fixture(scope="session")
def trained():
    return packaged()


@pytest.fixture(scope="session")
def trained_everywhere(trained, device):
    return copy.copy(trained).on(device)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return Trio(models.sam.make("small", tmp_path_factory.mktemp("small-one")), smooth_image())


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """sam2's and transformers' video models, on one thread, with sam2's filling of holes."""
    with originals_in(tmp_path_factory.mktemp("video")) as found:
        yield found
