"""Draws a clip for `segrid track` of the demo, and prints its path: `python scripts/demo_clip.py
FILE`. A red ball and a blue square cross a plain ground; the ball passes behind a grey post."""

import math
import sys

import numpy as np
from PIL import Image, ImageDraw

FRAMES, RATE, SIZE = 48, 24, (480, 270)
SCALE = 3  # Frames are drawn larger and then reduced, which makes edges soft.


def ball(frame):
    """The box x0, y0, x1, y1 of the ball."""
    share = frame / (FRAMES - 1)
    x, y = 70 + 330 * share, 95 - 35 * math.sin(math.pi * share)
    return x - 36, y - 36, x + 36, y + 36


def square(frame):
    """The box x0, y0, x1, y1 of the square."""
    x = 390 - 4 * frame
    return x - 30, 170, x + 30, 230


def draw():
    """The frames as (H, W, 3) uint8 arrays."""
    width, height = SIZE
    for frame in range(FRAMES):
        canvas = Image.new("RGB", (width * SCALE, height * SCALE), (226, 222, 208))
        pen = ImageDraw.Draw(canvas)
        for shape, box, colour in (
            (pen.rectangle, square(frame), (35, 75, 190)),
            (pen.ellipse, ball(frame), (205, 40, 38)),
            (pen.rectangle, (225, 0, 255, height), (120, 122, 126)),  # the post
        ):
            shape([value * SCALE for value in box], fill=colour)
        yield np.asarray(canvas.resize(SIZE, Image.LANCZOS))


def write(path):
    """Writes the clip as H.264."""
    from segrid.video.picture_video import PictureVideo

    with PictureVideo(path, rate=RATE) as video:
        for picture in draw():
            video.append(picture)


if __name__ == "__main__":
    write(sys.argv[1])
    print(sys.argv[1])
