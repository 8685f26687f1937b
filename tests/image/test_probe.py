"""The probe: what it reads from image headers, and that no input crashes it."""

import io
import struct
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.building_blocks import kernels

probe_image = kernels.probe_image
FORMATS = {"unknown", "PNG", "JPEG", "GIF", "BMP", "WebP"}
SIZE = (261, 515)  # Each number has two different bytes.


@cache
def file(
    kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, frames: int = 1, **options
) -> bytes:
    images = [Image.new(mode, size[::-1], 90 * i) for i in range(frames)]
    if mode == "P":
        images[0].putpalette(bytes(range(256)) * 3)
    several = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    buffer = io.BytesIO()
    images[0].save(buffer, kind, **several, **options)
    return buffer.getvalue()


def exif(orientation: int, order: str = "<", offset: int = 8, mark: bytes = b"") -> bytes:
    """A TIFF structure with one tag."""
    mark = mark or {"<": b"II", ">": b"MM"}[order]
    return mark + struct.pack(order + "HIHHHIHHI", 42, offset, 1, 0x0112, 3, 1, orientation, 0, 0)


def app1(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def png(depth: int, color: int, size=SIZE) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(
        ">I4sIIBBBBBI", 13, b"IHDR", size[1], size[0], depth, color, 0, 0, 0, 0
    )


def bmp(height: int, width: int, bits: int) -> bytes:
    return b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0
    )


# kind, mode, options, bit depth, channels
FILES = [
    ("PNG", "1", {}, 1, 1),
    ("PNG", "L", {}, 8, 1),
    ("PNG", "LA", {}, 8, 2),
    ("PNG", "RGB", {}, 8, 3),
    ("PNG", "RGBA", {}, 8, 4),
    ("PNG", "I;16", {}, 16, 1),
    ("PNG", "P", {"bits": 8}, 8, 1),
    ("PNG", "P", {"bits": 2}, 2, 1),
    ("PNG", "P", {"bits": 1}, 1, 1),
    ("JPEG", "L", {}, 8, 1),
    ("JPEG", "RGB", {}, 8, 3),
    ("JPEG", "CMYK", {}, 8, 4),
    ("JPEG", "RGB", {"progressive": True}, 8, 3),
    ("JPEG", "RGB", {"comment": b"\xff\xc0" * 20}, 8, 3),
    ("JPEG", "RGB", {"restart_marker_rows": 1}, 8, 3),
    ("JPEG", "RGB", {"dpi": (72, 72)}, 8, 3),
    ("BMP", "L", {}, 8, 1),
    ("BMP", "P", {}, 8, 1),
    ("BMP", "RGB", {}, 8, 3),
    ("BMP", "RGBA", {}, 8, 4),
    ("WebP", "RGB", {}, 8, 3),
    ("WebP", "RGB", {"lossless": True}, 8, 3),
    ("WebP", "RGB", {"exif": exif(1)}, 8, 3),
    ("WebP", "RGB", {"icc_profile": b"profile"}, 8, 3),
]


@pytest.mark.parametrize("kind, mode, options, depth, channels", FILES)
def test_headers(kind, mode, options, depth, channels):
    for size in (SIZE, (1, 1), (1, 300), (300, 1)):
        got = probe_image(file(kind, mode, size, **options))
        assert got == {
            "format": kind,
            "size": size,
            "orientation": 1,
            "bit_depth": depth,
            "channels": channels,
            "animated": False,
        }


@pytest.mark.parametrize("color, channels", [(0, 1), (2, 3), (3, 1), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_png_color_types(depth, color, channels):
    got = probe_image(png(depth, color))
    assert (got["size"], got["bit_depth"], got["channels"]) == (SIZE, depth, channels)


def test_largest_sizes_are_read_without_overflow():
    assert probe_image(png(8, 2, (2**32 - 1, 2**31)))["size"] == (2**32 - 1, 2**31)
    assert probe_image(bmp(-(2**31), 2**31 - 1, 24))["size"] == (2**31, 2**31 - 1)


def test_bmp_upside_down():
    assert probe_image(bmp(-261, 515, 24))["size"] == SIZE


def test_gif_is_only_named():
    """GIF is not decoded by the engine; it needs the name for its message."""
    assert {probe_image(file("GIF", "P", frames=n))["format"] for n in (1, 3)} == {"GIF"}
    assert probe_image(b"GIF87a")["format"] == "GIF"


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_animated(kind):
    for frames, animated in ((1, False), (2, True), (3, True)):
        got = probe_image(file(kind, frames=frames))
        assert got["animated"] is animated and got["size"] == SIZE and got["format"] == kind


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation, order):
    tag = exif(orientation, order)
    files = [file(kind, exif=b"Exif\0\0" + tag) for kind in ("JPEG", "PNG", "WebP")]
    # Pillow leaves JPEG's prefix out of WebP.
    files.append(files[-1].replace(b"EXIF\x1a\0\0\0", b"EXIF\x20\0\0\0Exif\0\0"))
    assert len(set(files)) == 4
    for data in files:
        assert probe_image(data)["orientation"] == orientation and probe_image(data)["size"] == SIZE


BAD_TAGS = [
    exif(0),
    exif(9),
    exif(65535),
    exif(6, offset=1000),
    exif(6, offset=2**32 - 1),
    exif(6, mark=b"XX"),
    b"",
    b"II",
    exif(6)[:15],
]


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_bad_orientations_read_as_upright(tag):
    jpeg = file("JPEG")
    assert probe_image(jpeg[:2] + app1(b"Exif\0\0" + tag) + jpeg[2:])["orientation"] == 1


def test_jpeg_segments():
    jpeg, thumbnail = file("JPEG"), file("JPEG", "L", (8, 9))
    after_jfif = 20
    xmp = app1(b"http://ns.adobe.com/xap/1.0/\0<x/>")
    for extra in (
        app1(b"Exif\0\0" + exif(1) + thumbnail),
        xmp,
        b"\xff\xff\xff",
        b"\xff\x01",
        b"\xff\xfe\0\2",
        b"junk",
    ):
        assert probe_image(jpeg[:after_jfif] + extra + jpeg[after_jfif:]) == probe_image(jpeg)


NO_IMAGES = [
    b"",
    b"\x89PNG",
    b"\xff\xd8",
    b"GIF88a",
    b"MM*\0",
    b"BM",
    b"RIFF\0\0\0\0WAVE",
    b"%PDF-1.7",
    b"\0\0\0\x18ftypheic",
    b"text",
]


@pytest.mark.parametrize("data", NO_IMAGES)
def test_files_that_are_no_images(data):
    assert probe_image(data) == {
        "format": "unknown",
        "size": (0, 0),
        "orientation": 1,
        "bit_depth": 0,
        "channels": 0,
        "animated": False,
    }


SMALL = [(kind, mode, (5, 7), tuple(options.items())) for kind, mode, options, *_ in FILES]
SIGNATURES = [
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff",
    b"\xff\xd8" + app1(b"Exif\0\0II*\0"),
    b"GIF89a",
    b"BM",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"RIFF\0\0\0\0WEBPVP8XEXIFExif\0\0II*\0",
]


def survives(data: bytes) -> dict:
    got = probe_image(data)
    assert (
        got["format"] in FORMATS
        and got["orientation"] in range(1, 9)
        and isinstance(got["animated"], bool)
    )
    return got


@pytest.mark.parametrize("kind, mode, size, options", SMALL)
def test_every_truncation(kind, mode, size, options):
    whole = file(kind, mode, size, **dict(options))
    sizes = [survives(whole[:n])["size"] for n in range(len(whole) + 1)]
    first = sizes.index(size)
    assert sizes[first:] == [size] * (len(sizes) - first)
    assert all(height in (0, size[0], 1) and width in (0, size[1], 1) for height, width in sizes)


HEADERS = [
    ("PNG", {}, 24),
    ("BMP", {}, 27),
    ("WebP", {}, 30),
    ("WebP", {"lossless": True}, 25),
    ("WebP", {"exif": exif(1)}, 30),
]


@pytest.mark.parametrize("kind, options, header", HEADERS)
def test_size_needs_only_the_first_bytes(kind, options, header):
    assert probe_image(file(kind, **options)[:header])["size"] == SIZE


def test_every_byte_of_small_files_flipped():
    rng = np.random.default_rng(0)
    for kind, mode, size, options in SMALL:
        whole = file(kind, mode, size, **dict(options))
        for at in range(min(len(whole), 400)):
            data = bytearray(whole)
            data[at] ^= int(rng.integers(1, 256))
            survives(bytes(data))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([b"", *SIGNATURES]), st.binary(max_size=300))
def test_garbage(signature, data):
    survives(signature + data)


def test_garbage_of_ones_and_zeros():
    for signature in SIGNATURES:
        for byte in (b"\0", b"\xff", b"\x2a"):
            survives(signature + byte * 100_000)
