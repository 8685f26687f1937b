"""Channels of a TIFF in separate pages: each page is decoded by its own tags, and a note names
channels that are missing."""

import io
import time
import tracemalloc

import numpy as np
import pytest
import segrid
import tifffile

from tests.reference.tiff import PHOTO, SIZE, gray, percentiles, read

FIRST = PHOTO[..., 0].astype(np.uint16) * 90
SECOND = FIRST[::-1].copy()


def ome(
    *, channels=2, slices=1, times=1, kind="uint16", planes=None, size=SIZE, others="", first=""
):
    """A description in OME's format for planes in the order of the file."""
    planes = channels * slices * times if planes is None else planes
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'{others}<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" '
        f'SizeX="{size[1]}" SizeY="{size[0]}" SizeC="{channels}" SizeZ="{slices}" '
        f'SizeT="{times}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f'<TiffData IFD="0" {first} PlaneCount="{planes}"/></Pixels></Image></OME>'
    )


def written(text, *pages):
    """A file of (array, options) pages; the first page has the text."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for number, (array, options) in enumerate(pages):
            more = {} if number else {"description": text}
            writer.write(array, metadata=None, contiguous=False, **more, **options)
    return buffer.getvalue()


def channels(*parts):
    empty = [np.zeros(SIZE, np.uint8)] * (3 - len(parts))
    return np.stack([*(percentiles(part) for part in parts), *empty], axis=-1)


def warned(data, **options):
    with pytest.warns(UserWarning) as said:
        image = segrid.read_image(data, **options)
    return image, [str(one.message) for one in said]


SQUEEZED = {"compression": "zlib"}


@pytest.mark.parametrize(
    "first, second",
    [
        ({}, {}),
        ({}, SQUEEZED),
        (SQUEEZED, {}),
        (SQUEEZED, {"compression": "lzw"}),
        (SQUEEZED | {"predictor": True}, SQUEEZED),
        (SQUEEZED, SQUEEZED | {"predictor": True}),
        (SQUEEZED | {"rowsperstrip": 32}, SQUEEZED | {"rowsperstrip": 16}),
        ({"tile": (16, 16)}, {"tile": (32, 16)}),
        ({}, {"tile": (16, 16)}),
    ],
    ids=str,
)
def test_each_channel_is_decoded_by_its_own_tags(first, second):
    data = written(ome(), (FIRST, first), (SECOND, second))
    assert np.array_equal(read(data), channels(FIRST, SECOND))
    data = written(ome(channels=3), (FIRST, first), (SECOND, second), (FIRST[:, ::-1], first))
    assert np.array_equal(read(data), channels(FIRST, SECOND, FIRST[:, ::-1]))


@pytest.mark.parametrize(
    "other, what",
    [
        ((SECOND >> 8).astype(np.uint8), "channel 2 has 50 x 60 pixels of uint8"),
        (SECOND.view(np.int16), "channel 2 has 50 x 60 pixels of int16"),
        (SECOND[:40, :30], "channel 2 has 30 x 40 pixels of uint16"),
        (None, "channel 2 is not in this file"),
    ],
)
@pytest.mark.parametrize("options", [{}, SQUEEZED], ids=str)
def test_a_channel_that_does_not_fit_is_left_out_and_said(other, what, options):
    pages = [(FIRST, options)] + ([] if other is None else [(other, options)])
    image, said = warned(written(ome(), *pages))
    assert np.array_equal(image, gray(percentiles(FIRST)))
    assert f"TIFF with 2 channels; {what}" in said[0] and said[0].endswith("and is left out")
    assert said[1:] == [
        f"bytes: TIFF with several frames or pages; the first one is used ({n} in all)"
        for n in (len(pages),)
        if n > 1
    ]


def test_other_colours_are_left_out():
    data = written(ome(), (FIRST, {}), (SECOND, {"photometric": "miniswhite"}))
    image, said = warned(data)
    assert np.array_equal(image, gray(percentiles(FIRST)))
    assert "channel 2 has other colours" in said[0]


def test_a_channel_in_another_file():
    files = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="{c}.ome.tif">urn:uuid:{c}'
        "</UUID></TiffData>"
        for c in range(2)
    )
    text = ome().replace('<TiffData IFD="0"  PlaneCount="2"/>', files)
    assert files in text
    image, said = warned(written(text, (FIRST, {})))
    assert np.array_equal(image, gray(percentiles(FIRST)))
    assert said == ["bytes: TIFF with 2 channels; channel 2 is not in this file and is left out"]


def test_notes_count_the_pages_that_exist():
    """The text claims 2 channels at 10 times; only 5 pages were written."""
    pages = [(FIRST, {}), (SECOND, {})] * 2 + [(FIRST, {})]
    image, said = warned(written(ome(times=10), *pages))
    assert np.array_equal(image, channels(FIRST, SECOND))
    assert said == ["bytes: TIFF with several frames or pages; the first one is used (3 in all)"]


BOMBS = {
    "times": ome(times=10**8),
    "planes": ome(planes=10**8),
    "another picture": ome().replace(
        "</OME>",
        '<Image ID="Image:1"><Pixels ID="Pixels:1" DimensionOrder="XYCZT" Type="uint16" '
        'SizeX="50" SizeY="60" SizeC="1" SizeZ="100000000" SizeT="1"><TiffData IFD="0"/></Pixels>'
        "</Image></OME>",
    ),
    "labels": ome(
        others="<StructuredAnnotations><XMLAnnotation ID='a' Namespace='x/modulo'><Value><Modulo>"
        "<ModuloAlongT Start='0' End='100000000' Step='1'/></Modulo></Value></XMLAnnotation>"
        "</StructuredAnnotations>"
    ),
    "characters by number": ome(times="&#49;00000000"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_texts_that_claim_far_too_many_pages(name):
    data = written(BOMBS[name], (FIRST, {}), (SECOND, {}))
    began = time.monotonic()
    tracemalloc.start()
    try:
        image, said = warned(data)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 5 and most < 50_000_000
    assert np.array_equal(image, gray(percentiles(FIRST)))
    assert (
        "channel 2 cannot be found by the text of this file" in said[0] and "(2 in all)" in said[1]
    )


def hurt(data, page):
    """The file with one page that cannot be decoded."""
    whole = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        one = opened.pages[page]
        for offset, count in zip(one.dataoffsets, one.databytecounts, strict=True):
            whole[offset : offset + count] = b"\xff" * count
    return bytes(whole)


def test_lenient_keeps_the_channels_that_can_be_decoded():
    data = written(ome(channels=3), *[(part, SQUEEZED) for part in (FIRST, SECOND, FIRST)])
    for bad, kept in ((0, (SECOND, FIRST)), (1, (FIRST, FIRST)), (2, (FIRST, SECOND))):
        with pytest.raises(segrid.CorruptFileError, match="strip 0 cannot be decoded"):
            segrid.read_image(hurt(data, bad))
        image, said = warned(hurt(data, bad), lenient=True)
        assert np.array_equal(image, channels(*kept))
        assert len(said) == 1 and said[0].endswith(f"channel {bad + 1} is left out")
    for page in range(3):
        data = hurt(data, page)
    with pytest.raises(segrid.CorruptFileError, match="strip 0 cannot be decoded"):
        segrid.read_image(data, lenient=True)


def test_another_series_after_a_stack_without_tags():
    """The second directory belongs to another series; it is not the second channel."""
    stack = np.stack([FIRST, SECOND, FIRST[:, ::-1]])
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(stack, photometric="minisblack", metadata={"axes": "CYX"}, truncate=True)
        writer.write(FIRST * 0, metadata={"axes": "YX"})
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as opened:
        assert len(opened.pages) == 2
    assert np.array_equal(read(buffer.getvalue()), channels(*stack))
