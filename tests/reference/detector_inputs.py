"""Texts and images for detectors with random weights."""

import numpy as np
from PIL import Image

PROMPTS = [
    "a red circle",
    "the small blue star",
    "nuclei",
    "a photo of the big green triangle in the picture",
]


def noise(seed, size=(233, 150)):
    values = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(values).resize(size, Image.BICUBIC))
