"""Images of too many pixels, and bodies of too many mistakes."""

import io
import time
from dataclasses import replace

import numpy as np

from tests.serve.conftest import png
from tests.serve.waiting import OCTETS, error_of


def test_large_images_name_the_setting(started, settings, photo):
    client = started(replace(settings, image_pixels=1000))
    answer = client.post("/v1/images", content=photo, headers=OCTETS)
    assert error_of(answer, 413, "too_large")["setting"] == "image_pixels"
    bomb = png(np.zeros((1, 1), np.uint8)).replace(
        b"IHDR\x00\x00\x00\x01\x00\x00\x00\x01", b"IHDR\x00\x01\x00\x00\x00\x01\x00\x00"
    )
    assert client.post("/v1/images", content=bomb, headers=OCTETS).status_code in (413, 422)


def test_large_pages_of_a_tiff_name_the_setting(started, settings):
    """The first page is a small copy, and the picture comes after it."""
    import tifffile

    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(np.zeros((16, 16, 3), np.uint8), photometric="rgb", subfiletype=1)
        tiff.write(np.full((64, 64, 3), 200, np.uint8), photometric="rgb")
    client = started(replace(settings, image_pixels=1000))
    answer = client.post("/v1/images", content=file.getvalue(), headers=OCTETS)
    assert error_of(answer, 413, "too_large")["setting"] == "image_pixels"


def test_a_body_of_many_errors_tells_the_first(client):
    """An error for each number of a million would fill the memory."""
    image = "/v1/images/x/predict"
    many = {"hint": {"size": [1, 1], "counts": [-1] * 200_000}}
    unknown = {f"field{i}": 0 for i in range(100_000)}
    for body, what in ((many, "counts"), (unknown, "field0")):
        begin = time.monotonic()
        error = error_of(client.post(image, json=body), 422, "invalid")
        assert what in error["message"] and time.monotonic() - begin < 2
