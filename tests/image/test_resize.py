"""The resize before the encoder: equal bits to Pillow's BILINEAR."""

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from segrid import _core

from tests.building_blocks import kernels

resize_rgb = kernels.resize_rgb
resize_rgb_unrounded = kernels.resize_rgb_unrounded
SIDE = 1024

# from (height, width), to (height, width)
SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (9, 5)),
    ((1, 50), (1, 7)),
    ((1, 50), (3, 80)),
    ((50, 1), (80, 3)),
    ((2, 2), (3000, 2)),
    ((7, 9), (20, 31)),
    ((101, 67), (102, 68)),
    ((100, 150), (13, 7)),
    ((31, 97), (29, 3)),
    ((64, 65), (65, 64)),
    ((129, 200), (127, 1)),
    ((33, 44), (33, 44)),
    ((33, 44), (33, 20)),
    ((33, 44), (33, 99)),
    ((33, 44), (99, 44)),
    ((4, 4), (20000, 4)),
    ((4, 4), (4, 20000)),
    ((20000, 4), (20000, 3)),
    ((20000, 4), (20001, 9)),
    ((4, 20000), (1, 1024)),
    ((4, 20000), (9, 333)),
    ((1, 2_000_000), (1, 3)),
]
TALL = [
    ((20000, 4), (1024, 1)),
    ((20000, 4), (100, 60)),
    ((20000, 4), (999, 4)),
    ((50, 1), (1, 1)),
    ((2400, 1080), (1024, 461)),
    ((64, 33), (63, 99)),
]
PHOTOS = [
    (1200, 1800),
    (1800, 1200),
    (480, 640),
    (640, 480),
    (1080, 1920),
    (333, 500),
    (683, 1024),
    (1024, 1024),
    (90, 120),
    (57, 1023),
]


def longest_side(height: int, width: int, side: int) -> tuple[int, int]:
    """segment-anything's ResizeLongestSide.get_preprocess_shape."""
    scale = side * 1.0 / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def picture(kind: str, size: tuple[int, int]) -> np.ndarray:
    y, x = np.indices(size)
    return {
        "noise": lambda: np.random.default_rng(sum(size)).integers(
            0, 256, (*size, 3), dtype=np.uint8
        ),
        "white": lambda: np.full((*size, 3), 255, np.uint8),
        "checks": lambda: np.repeat(((x + y) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2),
        "ramps": lambda: np.stack([x, y, x + y], axis=2).astype(np.uint8),
    }[kind]()


def pillow(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.BILINEAR))


def one_by_one(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """One call of Pillow per direction, in the order of Pillow 13, so that the result is the same
    in every version."""
    shrunk = rgb.shape[0] - height
    if shrunk > 0 and shrunk > 2 * (rgb.shape[1] - width):
        return pillow(pillow(rgb, height, rgb.shape[1]), height, width)
    return pillow(pillow(rgb, rgb.shape[0], width), height, width)


@pytest.mark.parametrize("kind", ["noise", "white", "checks", "ramps"])
def test_equals_pillow(kind):
    for size, to in SIZES:
        rgb = picture(kind, size)
        got = resize_rgb(rgb, *to)
        assert got.shape == (*to, 3) and got.dtype == np.uint8
        assert np.array_equal(got, pillow(rgb, *to)), (size, to)


@pytest.mark.parametrize("size", PHOTOS)
def test_segment_anythings_sizes(size):
    to = longest_side(*size, SIDE)
    rgb = picture("noise", size)
    assert max(to) == SIDE
    assert np.array_equal(resize_rgb(rgb, *to), pillow(rgb, *to))


@pytest.mark.parametrize("size, to", TALL)
def test_tall_images_begin_with_y_as_in_pillow_13(size, to):
    rgb = picture("noise", size)
    assert np.array_equal(resize_rgb(rgb, *to), one_by_one(rgb, *to))
    if int(PIL.__version__.split(".")[0]) >= 13:
        assert np.array_equal(resize_rgb(rgb, *to), pillow(rgb, *to))


SIDES = st.integers(1, 150)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_any_size(height, width, to_height, to_width, seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    got = resize_rgb(rgb, to_height, to_width)
    assert np.array_equal(got, one_by_one(rgb, to_height, to_width))
    if to_height >= height or int(PIL.__version__.split(".")[0]) >= 13:
        assert np.array_equal(got, pillow(rgb, to_height, to_width))


@pytest.mark.parametrize("kind", ["noise", "white", "checks", "ramps"])
def test_unrounded_equals_torch(kind):
    # torch 2.13 repeats one row where the width becomes 1.
    for size, to in [s for s in SIZES if max(s[0] + s[1]) < 5000 and s[1][1] > 1] + [
        (p, (SIDE, SIDE)) for p in PHOTOS[:5]
    ]:
        rgb = picture(kind, size)
        pixels = torch.tensor(rgb).permute(2, 0, 1)[None].float().contiguous()
        theirs = (
            torch.nn.functional.interpolate(
                pixels, to, mode="bilinear", antialias=True, align_corners=False
            )[0]
            .permute(1, 2, 0)
            .numpy()
        )
        got = resize_rgb_unrounded(rgb, *to)
        assert got.shape == (*to, 3) and got.dtype == np.float32
        assert np.abs(got - theirs).max() < 2e-4, (size, to)


def test_memory_layouts():
    rgb = picture("noise", (30, 40))
    layouts = [
        rgb[::-1],
        rgb[:, ::-1],
        rgb[:, ::2],
        rgb[3:20, 5:31],
        rgb[..., ::-1],
        rgb.transpose(1, 0, 2),
        np.asfortranarray(rgb),
        np.broadcast_to(rgb[:1], rgb.shape),
    ]
    for layout in layouts:
        assert np.array_equal(
            resize_rgb(layout, 53, 19), pillow(np.ascontiguousarray(layout), 53, 19)
        )


def test_input_is_left_alone():
    rgb = picture("noise", (33, 44))
    before = rgb.copy()
    rgb.flags.writeable = False
    same = resize_rgb(rgb, 33, 44)
    resize_rgb(rgb, 20, 70)
    assert np.array_equal(rgb, before) and not np.shares_memory(same, rgb)


def test_same_bits_for_any_number_of_threads():
    rgb = picture("noise", (517, 700))
    threads = _core.threads()
    try:
        results = []
        for n in (1, 2, 5):
            _core.set_threads(n)
            results.append([resize_rgb(rgb, *to) for to in ((300, 450), (300, 700), (1000, 1024))])
    finally:
        _core.set_threads(threads)
    for others in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], others, strict=True))


@pytest.mark.parametrize(
    "size, to",
    [
        ((5, 5), (0, 5)),
        ((5, 5), (5, 0)),
        ((5, 5), (1, 1 << 24)),
        ((0, 5), (4, 4)),
        ((5, 0), (4, 4)),
    ],
)
def test_sizes_out_of_range(size, to):
    with pytest.raises(ValueError, match=r"from 1 to 2\^24 - 1"):
        resize_rgb(np.zeros((*size, 3), np.uint8), *to)


@pytest.mark.parametrize("size", [(303, 384), (300, 200), (97, 61), (5, 700), (1, 3)])
def test_encode_resizes_as_pillow(tiny, size):
    """The model `tiny` sees 256 x 256 pixels: an image that Pillow resized to that long side is
    encoded to the same bits."""
    rgb = picture("noise", size)
    small = pillow(rgb, *(max(1, n) for n in longest_side(*size, 256)))
    assert np.array_equal(tiny.encode(rgb).features, tiny.encode(small).features)
