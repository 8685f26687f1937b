"""The pictures of the grid tool: masks over the photo, and a zip of cut-out objects."""

from __future__ import annotations

import base64
import io
import zipfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrid.results import Masks

BLUE = (0, 0, 255)
COLOURS = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 128, 0),
    (128, 0, 255),
    (0, 128, 255),
    (255, 128, 128),
)
OPACITY = 128  # of 255


def largest_first(masks: Masks) -> Masks:
    """The masks in falling order of their areas; equal ones stay in their order."""
    return masks[np.argsort(-masks.areas, kind="stable")]


def overlay(picture: NDArray[np.uint8], masks: Masks, colours: tuple[tuple[int, ...], ...]) -> str:
    """Base64 of an RGBA PNG: the masks, one over the other, in half-transparent colours in turn.

    picture : (H, W, 3) RGB
    """
    rgb = picture.astype(np.uint16)
    for i in range(len(masks)):  # one mask at a time is rendered
        inside = masks[i].array[0]
        colour = np.array(colours[i % len(colours)], np.uint16)
        rgb[inside] = (rgb[inside] * (255 - OPACITY) + colour * OPACITY) // 255
    opaque = np.full(picture.shape[:2], 255, np.uint8)
    return base64.b64encode(_rgba_png(rgb.astype(np.uint8), opaque)).decode("ascii")


def cut_outs(picture: NDArray[np.uint8], masks: Masks) -> bytes:
    """A zip of one RGBA PNG for each mask, largest first: the photo, transparent outside the mask.

    picture : (H, W, 3) RGB
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # PNGs do not shrink further
        for i, mask in enumerate(largest_first(masks), 1):
            alpha = mask.array[0].astype(np.uint8) * np.uint8(255)
            archive.writestr(
                f"mask_{i:03d}_area_{int(mask.areas[0])}.png", _rgba_png(picture, alpha)
            )
    return file.getvalue()


def _rgba_png(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.dstack([rgb, alpha])).save(file, "PNG", compress_level=1)
    return file.getvalue()
