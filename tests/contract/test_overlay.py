"""Pictures of detections: colours agree with labels, and text is readable."""

import colorsys

import numpy as np
import pytest
import segrid
from segrid.overlay import NAMED, PALETTE, class_colour, readable_on

RED, YELLOW = (205, 40, 38), (245, 215, 40)


def hue(colour):
    return colorsys.rgb_to_hsv(*(c / 255 for c in colour))[0] * 360


def of_hue(picture, wanted):
    """True for saturated pixels of about that hue."""
    return np.apply_along_axis(
        lambda c: (
            colorsys.rgb_to_hsv(*(c / 255))[1] > 0.3
            and abs((hue(c) - wanted + 180) % 360 - 180) < 15
        ),
        2,
        picture,
    )


@pytest.fixture(scope="module")
def scene(tiny):
    """A red and a yellow square on white, detected as "yellow star" and "red circle"."""
    image = np.full((120, 200, 3), 235, np.uint8)
    image[30:90, 20:80], image[30:90, 120:180] = RED, YELLOW
    boxes = np.array([[120, 30, 180, 90], [20, 30, 80, 90]], np.float32)
    masks = tiny.predict(image, boxes=boxes)
    boxes = boxes + np.float32([-8, -8, 8, 8])
    return image, segrid.Detections(
        boxes, [0.9, 0.8], ["the yellow star", "a red circle"], [0, 1], (120, 200), masks, image
    )


def test_a_class_has_the_colour_that_its_label_names():
    for word, colour in NAMED.items():
        assert class_colour(3, f"a {word.upper()} thing") == colour
    assert class_colour(2, "the red and blue ball") == NAMED["red"]
    for label in ("cat", "a redhead", "Greenland", ""):  # Only whole words name a colour.
        assert [class_colour(i, label) for i in range(16)] == [*PALETTE, *PALETTE]
    assert not set(PALETTE) & set(NAMED.values())


def test_objects_keep_their_colour_and_marks_agree_with_it(scene):
    image, found = scene
    picture = found.picture()
    assert (picture != image).any()
    for (x0, x1), colour in (((20, 80), RED), ((120, 180), YELLOW)):
        part = picture[10:110, x0 - 10 : x1 + 10]
        saturated = np.ptp(part.astype(int), axis=2) > 90
        assert saturated.any() and not (saturated & ~of_hue(part, hue(colour))).any()


def test_masks_are_outlined(scene):
    image, found = scene
    plain = found.picture(alpha=0)
    alone = segrid.Detections(
        found.boxes, found.scores, found.labels, found.class_id, found.size, None, image
    ).picture()
    changed = (plain != alone).any(axis=2)
    inside = found.masks.array.any(axis=0)
    assert changed.any() and not (changed & ~inside).any()  # The outline is inside the mask.
    assert changed.sum() < inside.sum() / 2
    bright = found.picture(alpha=1)[inside].astype(int) - plain[inside]
    assert bright.min() >= 0 and bright.max() > 20


@pytest.mark.parametrize("colour", [*NAMED.values(), *PALETTE])
def test_text_is_readable_on_its_ground(colour):
    """WCAG 2 requires a contrast of 4.5."""

    def luminance(rgb):
        c = np.array(rgb) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    high, low = sorted((luminance(colour), luminance(readable_on(colour))), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_labels_stay_inside_the_picture():
    boxes = [[-50, -50, 30, 30], [180, 100, 400, 300], [190, 0, 199, 10]]
    found = segrid.Detections(
        np.array(boxes), [0.5] * 3, ["something with a long name"] * 3, [0, 1, 2], (120, 200)
    )
    assert found.picture().shape == (120, 200, 3)
    with pytest.raises(ValueError, match="alpha must be from 0 to 1"):
        found.picture(alpha=2)
    with pytest.raises(ValueError, match="the image is 5 x 5"):
        found.picture(np.zeros((5, 5, 3), np.uint8))
