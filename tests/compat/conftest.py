"""The original and the drop-in on equal weights, in one process."""

from pathlib import Path

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from benchmarks import random_sam


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
    theirs = random_sam.to_segment_anything(random_sam.make("wide", folder))
    torch.save(theirs.state_dict(), folder / "sam.pth")  # its config.json lies beside it
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
        random_sam.to_segment_anything(folder),
    )


@pytest.fixture(scope="session")
def sam2_checkpoint(tmp_path_factory):
    """(sam2's model, the .pt file with its weights)."""
    from benchmarks import random_sam2

    theirs = random_sam2.original("sam2.1_hiera_t")
    file = tmp_path_factory.mktemp("sam2") / "sam2.pt"
    torch.save({"model": theirs.state_dict()}, file)
    return theirs, file
