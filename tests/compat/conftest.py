"""The originals and the drop-ins on equal weights, in one process."""

from pathlib import Path

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from tests import models
from tests.models import sam2_predictor
from tests.reference.sam2_calls import CONFIG
from tests.tracking.originals import originals_in


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(autouse=True, scope="session")
def converted_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SEGRID_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def smooth(size, seed=3):
    noise = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.BICUBIC))


@pytest.fixture(scope="session")
def other_image():
    return smooth((120, 90), 5)


@pytest.fixture(scope="session")
def image():
    return smooth((233, 150))


@pytest.fixture(scope="session")
def sam_checkpoint(tmp_path_factory):
    """(segment_anything's model, the .pth file with its weights)."""
    folder = tmp_path_factory.mktemp("sam")
    theirs = models.sam.to_segment_anything(models.sam.make("wide", folder))
    torch.save(theirs.state_dict(), folder / "sam.pth")  # Its config.json is in the same folder.
    return theirs, folder / "sam.pth"


@pytest.fixture(scope="session")
def sam_pair(sam_checkpoint):
    """(the drop-in's model, segment_anything's) of the same random weights."""
    from segrid.compat.segment_anything import sam_model_registry

    return sam_model_registry["vit_b"](checkpoint=str(sam_checkpoint[1])), sam_checkpoint[0]


@pytest.fixture(scope="session")
def trained_pair():
    """(the drop-in's model, segment_anything's) of the packaged model's trained weights."""
    from segrid.compat.segment_anything import sam_model_registry

    folder = Path(segrid.__file__).parent / "models/tiny"
    return (
        sam_model_registry["default"](checkpoint=folder),
        models.sam.to_segment_anything(folder),
    )


@pytest.fixture(scope="session")
def sam2_checkpoint(tmp_path_factory):
    """(sam2's model, the .pt file with its weights)."""
    theirs = models.sam2.original("sam2.1_hiera_t")
    file = tmp_path_factory.mktemp("sam2") / "sam2.pt"
    torch.save({"model": theirs.state_dict()}, file)
    return theirs, file


@pytest.fixture(scope="session")
def thin_sam2(tmp_path_factory):
    """(the drop-in's model, sam2's): published sizes at both ends, so that
    sam2's predictor of images takes it, and little work between them."""
    from segrid.compat.sam2.build_sam import build_sam2

    folder = models.sam2.make_both("thin", tmp_path_factory.mktemp("thin"))
    return build_sam2(CONFIG, folder, device="cpu"), sam2_predictor.load(folder)


@pytest.fixture(scope="session")
def small_sam2(tmp_path_factory):
    """The folder of a small SAM 2.1, for tests that need no large model."""
    return models.sam2.make("small", tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def originals(sam2_checkpoint, image):
    """make(**switches): sam2's predictor with these switches, on the features of one image pass."""
    from sam2.build_sam import build_sam2 as original
    from sam2.sam2_image_predictor import SAM2ImagePredictor as Original

    first = Original(sam2_checkpoint[0])
    first.set_image(image)

    def make(**switches):
        predictor = Original(original(CONFIG, str(sam2_checkpoint[1]), device="cpu", **switches))
        predictor._features = first._features
        predictor._orig_hw = first._orig_hw
        predictor._is_image_set = True
        return predictor

    return make


@pytest.fixture(scope="session")
def video_originals(tmp_path_factory):
    """sam2's and transformers' video models, on one thread, with sam2's filling of holes."""
    with originals_in(tmp_path_factory.mktemp("video")) as found:
        yield found
