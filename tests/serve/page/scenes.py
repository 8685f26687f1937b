"""What the pictures of these tests hold, and how masks are compared with it."""

import numpy as np
from pycocotools import mask as coco

from tests.tracking import clip

FRAMES = 24
IMAGE, VIDEO = (900, 600), (320, 240)  # width, height
DISC, SQUARE = (220, 300), (500, 290)  # pixels inside these shapes


def pixels(thing):
    return coco.decode(thing["rle"]).astype(bool)


def iou(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


def disc():
    y, x = np.mgrid[:600, :900]
    return np.hypot(x - 220, y - 300) <= 120


def clicked_blob(page, frame=0):
    """Clicks on a blob of the clip as it lies in a frame, and waits for the answer."""
    x, y, _, _ = clip.place(1, frame, FRAMES, 320, 240)
    page.click(*page.at(x, y, VIDEO))
    page.wait(lambda: "%" in page.text("#status") or "nothing" in page.text("#status"), "a mask")
