"""Checks the claims of a TIFF page against the file and the limits, before memory is allocated."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segrid._native import CorruptFileError, _core
from segrid._types import TiffPage

# Decoded samples may take this many bytes for each pixel of the limit.
BYTES_OF_A_PIXEL = 8
DEFLATE = (8, 32946)
WITHOUT_IMAGECODECS = (1, 32773, *DEFLATE)  # none, PackBits
WITH_OWN_SIZE = (7, 34892, 33007, 34933, 50001, 34927)  # JPEG, PNG, WebP
JPEG_XR = (22610, 34934)  # its decoder writes to stderr
JPEG_2000 = (33003, 33004, 33005, 34712)
NUMBERS = (
    "imagewidth",
    "imagelength",
    "imagedepth",
    "samplesperpixel",
    "tilewidth",
    "tilelength",
    "tiledepth",
    "rowsperstrip",
    "compression",
    "photometric",
    "planarconfig",
    "predictor",
    "fillorder",
)


class MissingCodec(ImportError, NotImplementedError):
    """The error for an undamaged file whose codec is not installed."""


@dataclass(frozen=True)
class Source:
    """An open file. name : its name in messages; size : bytes."""

    file: BinaryIO
    name: str
    size: int
    max_pixels: int
    lenient: bool


@dataclass(frozen=True)
class Plane:
    """The places of the strips or tiles of one channel, or of all channels, in the file.

    page : tifffile's page, whose tags say how they are decoded
    offsets, counts : the first byte and the number of bytes of each strip or tile
    tables : the tables that JPEG tiles share
    channel : the number of the channel, from 0
    """

    page: TiffPage
    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None
    channel: int = 0


@contextmanager
def errors_name_file(name: str, what: str) -> Iterator[None]:
    """Turns errors of libraries into errors that name the file."""
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{name}: {what} ({error})") from error
    except (NotImplementedError, ImportError) as error:  # this build lacks a codec
        raise NotImplementedError(f"{name}: {what} ({error})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise CorruptFileError(f"{name}: TIFF damaged: {what} ({error})") from error
    except Exception as error:  # tifffile and imagecodecs raise many kinds
        raise CorruptFileError(f"{name}: TIFF damaged: {what} ({error})") from error


def check_page(source: Source, page: TiffPage) -> None:
    """Refuses a page that is damaged, too large or not supported, by its tags alone."""
    name, most = source.name, source.max_pixels
    for number in NUMBERS:
        if not isinstance(getattr(page, number), (int, np.integer)):
            raise CorruptFileError(
                f"{name}: TIFF damaged: its tag for {number} holds "
                f"{str(getattr(page, number))[:40]!r}, not a number"
            )
    if not (
        isinstance(page.extrasamples, tuple) and isinstance(page.jpegtables, (bytes, type(None)))
    ):
        raise CorruptFileError(
            f"{name}: TIFF damaged: its tags ExtraSamples or JPEGTables are of the wrong type"
        )
    height, width = page.imagelength, page.imagewidth
    if height < 1 or width < 1:
        raise CorruptFileError(f"{name}: TIFF damaged: its size is {width} x {height}")
    if height * width > most:
        raise ValueError(
            f"{name}: {width} x {height} pixels; the limit is {most} pixels (max_pixels)"
        )
    if min(
        page.tiledepth, *segment_size(page), page.samplesperpixel, page.imagedepth
    ) < 1 or page.planarconfig not in (1, 2):
        raise CorruptFileError(f"{name}: TIFF damaged: its strips, tiles or pixels have no size")
    samples = _samples(page)
    if samples > 4 * most:
        raise ValueError(f"{name}: strips or tiles of {samples} samples; the limit is {4 * most}")
    _check_codec(page, name)
    if page.dtype is None or page.dtype.kind not in "buif":
        raise NotImplementedError(
            f"{name}: TIFF samples of {page.bitspersample} bits, format {page.sampleformat}, "
            "are not read; write integers or floats"
        )


def segment_size(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a tile or strip."""
    return (
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    )


def _samples(page: TiffPage) -> int:
    """The number of samples in a tile or strip."""
    return (
        math.prod(segment_size(page))
        * (page.tiledepth if page.is_tiled else 1)
        * (page.samplesperpixel if page.planarconfig == 1 else 1)
    )


@functools.cache
def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _check_codec(page: TiffPage, name: str) -> None:
    from tifffile import TIFF

    compression, bits = page.compression, page.bitspersample
    title = getattr(compression, "name", str(compression))
    if compression in JPEG_XR:
        raise NotImplementedError(
            f"{name}: TIFF compression {title} (JPEG XR) is not read; "
            "write it with LZW, Deflate, zstd or JPEG"
        )
    if not _has_imagecodecs():
        plain = (
            compression in WITHOUT_IMAGECODECS
            and page.predictor in (1, 2)
            and bits in (1, 8, 16, 32, 64)
        )
        if not plain:
            raise MissingCodec(
                f"{name}: a TIFF of {bits}-bit samples with compression {title} needs the "
                "imagecodecs package: "
                'pip install "segrid[microscopy]" (or pip install imagecodecs)',
                name="imagecodecs",
            )
        return
    try:
        if compression != 1:
            TIFF.DECOMPRESSORS[compression]
    except KeyError as error:
        raise NotImplementedError(
            f"{name}: TIFF compression {title} is not read by this tifffile and imagecodecs; "
            "update them, "
            "or write it with LZW, Deflate, zstd or JPEG"
        ) from error


def segment_place(page: TiffPage, index: int, taken: tuple[int, ...]) -> tuple[slice | int, ...]:
    """The rows, columns and used samples that a strip or tile holds."""
    (rows, columns), apart = segment_size(page), _is_planar(page)
    across, each = _segments(page)
    down, right = divmod(index % each, across)
    return (
        slice(down * rows, (down + 1) * rows),
        slice(right * columns, (right + 1) * columns),
        taken.index(index // (each * _depths(page))) if apart else slice(None),
    )


def _is_planar(page: TiffPage) -> bool:
    return bool(page.planarconfig == 2 and page.samplesperpixel > 1)


def _segments(page: TiffPage) -> tuple[int, int]:
    """The number of strips or tiles in a row, and the number for one sample."""
    rows, columns = segment_size(page)
    across = math.ceil(page.imagewidth / columns)
    return across, across * math.ceil(page.imagelength / rows)


def _depths(page: TiffPage) -> int:
    """The number of layers of tiles or strips: 1, except in a volume."""
    return math.ceil(page.imagedepth / page.tiledepth) if page.is_tiled else int(page.imagedepth)


def wanted_segments(source: Source, plane: Plane, taken: tuple[int, ...]) -> NDArray[np.intp]:
    """The indices of the strips or tiles of the used samples in the plane's tables.

    Raises ValueError for samples that take too many bytes when they are decoded, CorruptFileError
    for tables that are too short, hold no numbers, or claim more than the file and the picture
    hold.
    """
    page, most = plane.page, BYTES_OF_A_PIXEL * source.max_pixels
    kept = page.imagelength * page.imagewidth * len(taken) * page.dtype.itemsize
    if kept > most:
        raise ValueError(
            f"{source.name}: {page.imagewidth} x {page.imagelength} pixels of {page.dtype} take "
            f"{kept} bytes; the limit is {most}"
        )
    each = _segments(page)[1]
    firsts = [sample * _depths(page) * each for sample in taken] if _is_planar(page) else [0]
    for table in (plane.offsets, plane.counts):
        if not isinstance(table, (tuple, list)) or len(table) < firsts[-1] + each:
            raise CorruptFileError(
                f"{source.name}: TIFF damaged: its table of strips or tiles has no "
                f"{firsts[-1] + each} numbers"
            )
    wanted = np.concatenate([np.arange(first, first + each) for first in firsts])
    try:
        offsets, counts = (
            np.asarray(table)[wanted].astype(np.float64) for table in (plane.offsets, plane.counts)
        )
    except (IndexError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{source.name}: TIFF damaged: its table of strips or tiles holds no numbers"
        ) from error
    claimed = counts.sum()
    if (
        claimed > max(source.size, 2 * kept * page.samplesperpixel)
        or offsets.min() < 0
        or counts.min() < 0
    ):
        raise CorruptFileError(
            f"{source.name}: TIFF damaged: its strips or tiles claim {claimed:.0f} bytes, "
            f"the file has {source.size}"
        )
    return wanted


def checked_segment(source: Source, page: TiffPage, data: bytes) -> bytes:
    """The data of a strip or tile, checked.

    Raises ValueError for data that would decode to far more than its part of the picture.
    """
    if page.compression in DEFLATE and not _has_imagecodecs():  # zlib has no limit of its own
        most = _samples(page) * page.dtype.itemsize + 4096
        if len(zlib.decompressobj().decompress(data, most)) >= most:
            raise ValueError("it inflates to more than its picture holds")
    most = min(2 * math.prod(segment_size(page)) + 65_536, source.max_pixels)  # tiles may be padded
    if page.compression in WITH_OWN_SIZE and data.startswith(
        (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")
    ):
        encoded: Any = os.fsencode(source.name)
        if data.startswith(b"\x89PNG"):  # imagecodecs would print its errors
            _core.decode_bytes(data, encoded, most, False)
        else:
            _core.inspect_bytes(data, encoded, most, True)
    if (
        page.compression in JPEG_2000
        and (at := data.find(b"\xff\x4f\xff\x51")) >= 0
        and len(data) >= at + 16
    ):
        width, height = struct.unpack(">II", data[at + 8 : at + 16])
        if width * height > most:
            raise ValueError(f"a JPEG 2000 image of {width} x {height} pixels; the limit is {most}")
    return data
