"""Small TIFFs, and the rule for more than 8 bits in plain NumPy."""

import io
import warnings

import numpy as np
import segrid
import tifffile
from PIL import Image

RNG = np.random.default_rng(0)
SIZE = (60, 50)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
        SIZE[::-1], Image.BICUBIC
    )
)


def percentiles(values, known=None):
    """The rule for more than 8 bits, for one channel or for all channels that share a range."""
    values = values.astype(np.float64)
    low, high = np.percentile(values if known is None else values[known], (0.1, 99.9))
    eight = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return eight if known is None else np.where(known, eight, 0).astype(np.uint8)


def gray(eight):
    return np.repeat(eight[:, :, None], 3, axis=2)


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def pillow(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", **options)
    return buffer.getvalue()


def read(data, **options):
    """segrid.read_image, where a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return segrid.read_image(data, **options)
