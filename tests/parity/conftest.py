"""The same seeded random weights for segrid, transformers and segment-anything."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import random_sam

torch.set_grad_enabled(False)


class Trio:
    """One preset: our model, segment_anything's and transformers' on equal weights, and an image of a smooth random pattern."""

    def __init__(self, preset, folder):
        import segrid

        self.folder = random_sam.make(preset, folder)
        self.ours = segrid.Segmenter(self.folder)
        self.theirs = random_sam.to_segment_anything(self.folder)
        noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
        self.image = np.asarray(Image.fromarray(noise).resize((233, 150), Image.BICUBIC))  # not square, larger than the model's side

    def predictor(self):
        from segment_anything import SamPredictor

        predictor = SamPredictor(self.theirs)
        predictor.set_image(self.image)
        return predictor


@pytest.fixture(scope="session", params=["small", "tester", "wide"])
def trio(request, tmp_path_factory):
    return Trio(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return Trio("small", tmp_path_factory.mktemp("small-one"))
