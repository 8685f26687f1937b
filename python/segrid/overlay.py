"""Pictures of labelled boxes and masks, in colours that agree with the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from segrid.detections import Detections

Colour = tuple[int, int, int]

# Colours that a label may name. A class whose label names a colour is drawn in that colour.
NAMED: dict[str, Colour] = {
    "red": (220, 30, 30),
    "green": (20, 150, 50),
    "blue": (30, 80, 220),
    "yellow": (250, 220, 20),
    "orange": (250, 135, 10),
    "purple": (130, 40, 170),
    "violet": (130, 40, 170),
    "pink": (250, 130, 190),
    "brown": (140, 80, 30),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "cyan": (0, 200, 220),
    "turquoise": (40, 200, 180),
    "magenta": (220, 20, 160),
    "gold": (210, 165, 20),
    "silver": (185, 185, 190),
    "beige": (225, 210, 175),
}
# The other classes take these in turn. All of them differ from the common colours above.
PALETTE: tuple[Colour, ...] = (
    (0, 140, 140),
    (200, 20, 120),
    (120, 170, 0),
    (90, 90, 250),
    (230, 90, 70),
    (0, 110, 70),
    (180, 140, 240),
    (110, 60, 60),
)


def class_colour(class_id: int, label: str) -> Colour:
    """RGB of a class: the first colour that its label names, else the palette's colour of its
    number. It is the same in every image."""
    words = re.findall(r"[a-z]+", label.lower())
    named = next((NAMED[word] for word in words if word in NAMED), None)
    return named or PALETTE[class_id % len(PALETTE)]


def readable_on(background: Colour) -> Colour:
    """Black or white, whichever has the larger contrast (WCAG 2, by relative luminances)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in background)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    on_white, on_black = 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05
    return (255, 255, 255) if on_white >= on_black else (0, 0, 0)


def labelled_picture(rgb: NDArray[np.uint8], found: Detections, alpha: float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: each box and the outline of each mask in the colour of its class, with label
    and score on a background of that colour. The inside of masks is only brightened, so that
    objects keep their colour.

    rgb : (H, W, 3) uint8, of the detections' size
    alpha : 0 leaves the inside of masks as it is, 1 brightens it most
    """
    colours = [
        class_colour(kind, label)
        for kind, label in zip(found.class_id.tolist(), found.labels, strict=True)
    ]
    line = max(2, round(max(found.size) / 500))
    if found.masks is not None and len(found):
        rgb = _with_outlines(rgb, found.masks.label_map(), colours, alpha, max(1, line // 2))
    return _with_boxes(rgb, found, colours, line)


def _with_outlines(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.unsignedinteger],
    colours: Sequence[Colour],
    alpha: float,
    line: int,
) -> NDArray[np.uint8]:
    """labels : (H, W), i + 1 where mask i is on top. line : the width of outlines, pixels."""
    edge = np.zeros(labels.shape, bool)
    for rows, marks in ((labels, edge), (labels.T, edge.T)):
        for distance in range(1, line + 1):
            differs = rows[distance:] != rows[:-distance]
            marks[distance:] |= differs
            marks[:-distance] |= differs
    out = rgb.copy()
    inside = labels > 0
    out[inside] = 255 - (255 - rgb[inside]) * (1 - 0.35 * alpha) + 0.5
    edge &= inside
    out[edge] = np.array(colours, np.uint8)[labels[edge] - 1]
    return out


def _with_boxes(
    rgb: NDArray[np.uint8], found: Detections, colours: Sequence[Colour], line: int
) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(rgb)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(11, round(max(found.size) / 55)))
    marks = list(
        zip(found.boxes.tolist(), found.scores.tolist(), found.labels, colours, strict=True)
    )
    corners = [_inside(box, canvas.size, 2.0 * line) for box, *_ in marks]
    for (left, top, right, bottom), (*_, colour) in zip(corners, marks, strict=True):
        halo = readable_on(colour)  # it separates a box from an object of the same colour
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=halo, width=line + 2)
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
    for (left, top, *_), (_, score, label, colour) in zip(corners, marks, strict=True):
        _write(draw, (left, top, canvas.width), f"{label} {score:.2f}", colour, font)
    return np.asarray(canvas)


def _inside(box: Sequence[float], size: tuple[int, int], margin: float) -> list[float]:
    """x0, y0, x1, y1 in order, at most `margin` pixels outside a picture of (width, height)."""
    x0, y0, x1, y1 = box
    sides = (
        (min(x0, x1), size[0]),
        (min(y0, y1), size[1]),
        (max(x0, x1), size[0]),
        (max(y0, y1), size[1]),
    )
    return [min(max(value, -margin), most + margin) for value, most in sides]


def _write(
    draw: Any, place: tuple[float, float, int], text: str, colour: Colour, font: Any
) -> None:
    """Writes the text on a background of that colour: above the box where there is room, else in
    its corner.

    place : x and y of the box's corner, and the picture's width
    """
    _, _, right, bottom = draw.textbbox((3, 1), text, font=font)
    width, height = right + 3, bottom + 3
    left, top, room = place
    x = max(0.0, min(left, room - width))
    y = top - height if top >= height else max(0.0, top)
    draw.rectangle((x, y, x + width, y + height), fill=colour, outline=readable_on(colour))
    draw.text((x + 3, y + 1), text, fill=readable_on(colour), font=font)
