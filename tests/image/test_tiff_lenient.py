"""Lenient reading of TIFFs: a part that cannot be decoded is black and does not count in the range
of values."""

import io
import warnings

import numpy as np
import pytest
import segrid
import tifffile

from tests.reference.tiff import PHOTO, SIZE, gray, percentiles, tiff

ROWS = 15
LOST = np.zeros(SIZE, bool)
LOST[:ROWS] = True
OPTIONS = {"compression": "zlib", "rowsperstrip": ROWS}
GRAY = PHOTO[..., 0]


def hurt(data, strip=0):
    """The file with one strip that cannot be decoded."""
    whole = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        page = opened.pages[0]
        offset, count = page.dataoffsets[strip], page.databytecounts[strip]
    whole[offset : offset + count] = b"\xff" * count
    return bytes(whole)


def lenient(data, strip=0):
    with pytest.warns(UserWarning, match=r"; 1 of \d+ strips or tiles are left black"):
        return segrid.read_image(hurt(data, strip), lenient=True)


def black(image, lost=LOST):
    return np.where(lost[..., None], 0, image).astype(np.uint8)


def nodata(value):
    return {"extratags": [(42113, "s", 0, value, True)]}


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("value", [None, "-20", "7"])
def test_gray(photometric, kind, value):
    values = GRAY // 2 if kind == "uint8" else GRAY / 2.0 - 140
    values = values.astype(kind)
    missing = np.zeros(SIZE, bool) if value is None or kind == "uint8" else values == float(value)
    known = ~LOST & ~missing
    eight = values if kind == "uint8" else percentiles(values, known)
    if photometric == "miniswhite":
        eight = np.where(known, 255 - eight, 0)
    tag = {} if value is None else nodata(value)
    got = lenient(tiff(values, photometric=photometric, **OPTIONS, **tag))
    assert np.array_equal(got, black(gray(eight)))


def test_rgb_stored_apart_loses_one_colour():
    deep = np.moveaxis(PHOTO, -1, 0).astype(np.uint16) * 9
    data = tiff(deep, photometric="rgb", planarconfig="separate", **OPTIONS)
    each = SIZE[0] // ROWS
    known = np.ones((*SIZE, 3), bool)
    known[:ROWS, :, 1] = False
    assert np.array_equal(lenient(data, each), percentiles(np.moveaxis(deep, 0, -1), known))
    eight = tiff(np.moveaxis(PHOTO, -1, 0), photometric="rgb", planarconfig="separate", **OPTIONS)
    assert np.array_equal(lenient(eight, each), np.where(known, PHOTO, 0))


def test_tiles_of_which_the_last_are_padded():
    values = GRAY.astype(np.uint16) * 9
    lost = np.zeros(SIZE, bool)
    lost[48:, 48:] = True
    data = tiff(values, compression="zlib", tile=(16, 16), photometric="miniswhite")
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        last = len(opened.pages[0].dataoffsets) - 1
    wanted = np.where(lost, 0, 255 - percentiles(values, ~lost))
    assert np.array_equal(lenient(data, last), gray(wanted.astype(np.uint8)))


def test_palettes_inks_and_colour_differences():
    white = np.full((3, 256), 65535, np.uint16)
    wanted = black(np.full((*SIZE, 3), 255))
    palette = tiff(GRAY, photometric="palette", colormap=white, **OPTIONS)
    assert np.array_equal(lenient(palette), wanted)
    no_ink = np.zeros((*SIZE, 4), np.uint8)
    assert np.array_equal(lenient(tiff(no_ink, photometric="separated", **OPTIONS)), wanted)
    planes = np.zeros((4, *SIZE), np.uint8)
    apart = tiff(planes, photometric="separated", planarconfig="separate", **OPTIONS)
    assert np.array_equal(lenient(apart, SIZE[0] // ROWS), wanted)
    ycbcr = np.dstack([np.full(SIZE, 255), *[np.full(SIZE, 128)] * 2]).astype(np.uint8)
    data = tiff(ycbcr, photometric="ycbcr", subsampling=(1, 1), **OPTIONS)
    assert np.array_equal(lenient(data), wanted)


@pytest.mark.parametrize("page", [1, 2])
def test_a_file_that_ends_within_a_later_directory(page):
    data = tiff(np.stack([GRAY] * 3), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        place, tags = opened.pages[page].offset, len(opened.pages[page].tags)
    for end in (place + 1, place + 2, place + 20, place + 2 + 12 * tags, place + 5 + 12 * tags):
        with pytest.raises(segrid.CorruptFileError, match="truncated: the file ends at byte"):
            segrid.read_image(data[:end])


def test_leniently_a_file_that_ends_within_a_later_directory():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GRAY, contiguous=False, metadata=None)
        writer.write(GRAY, contiguous=False, metadata=None)
    data = buffer.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        end = opened.pages[1].offset + 20
    with pytest.warns(UserWarning, match="truncated: the file ends at byte"):
        assert np.array_equal(segrid.read_image(data[:end], lenient=True), gray(GRAY))


def test_sixteen_bits_of_inks_and_colour_differences():
    deep = np.dstack([PHOTO, GRAY]).astype(np.uint16) * 200
    eight = np.rint(deep / 257).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = segrid.read_image(tiff(deep, photometric="separated"))
        same = segrid.read_image(tiff(eight, photometric="separated"))
        floats = segrid.read_image(tiff((deep / 65535).astype("f4"), photometric="separated"))
    assert np.array_equal(got, same) and np.array_equal(floats, same)
    with pytest.raises(NotImplementedError, match="YCBCR of 16 bits"):
        segrid.read_image(tiff(deep[..., :3], photometric="ycbcr", subsampling=(1, 1)))
    bad = deep / 65535.0
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 12000 values are NaN or Inf"):
        segrid.read_image(tiff(bad.astype("f4"), photometric="separated"))
