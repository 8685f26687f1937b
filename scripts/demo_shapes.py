"""Draws plain shapes with soft edges for `segrid detect` of the demo, and prints the path of the
picture: `python scripts/demo_shapes.py FILE`."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

SCALE = 4  # The picture is drawn larger and then reduced, which makes edges soft.


def draw(size=(640, 420)):
    """The picture as a PIL image."""
    canvas = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), (236, 233, 225))
    pen = ImageDraw.Draw(canvas)

    def at(*numbers):
        return [n * SCALE for n in numbers]

    pen.ellipse(at(40, 40, 180, 180), fill=(205, 40, 38))
    pen.rectangle(at(230, 60, 330, 160), fill=(35, 75, 190))
    pen.polygon(at(460, 40, 545, 185, 375, 185), fill=(30, 150, 60))
    pen.rectangle(at(40, 270, 230, 350), fill=(240, 140, 20))
    pen.polygon(
        at(
            330,
            230,
            349,
            284,
            406,
            285,
            361,
            320,
            377,
            375,
            330,
            343,
            283,
            375,
            299,
            320,
            254,
            285,
            311,
            284,
        ),
        fill=(245, 215, 40),
    )
    pen.ellipse(at(450, 260, 510, 320), fill=(120, 40, 150))
    pen.rectangle(at(550, 280, 610, 340), fill=(20, 20, 22))
    return canvas.resize(size, Image.LANCZOS)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    draw().save(target)
    print(target)
