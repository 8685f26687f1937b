"""TIFF files to 8-bit RGB, by the rules that `_image` states: the first picture, upright, whatever its samples are.

tifffile says what the tags mean and decodes strips and tiles; imagecodecs decompresses what Python's own library does not.
What a file claims is held against what it has (`_tiff_directory`) before anything is allocated.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from segrid._native import CorruptFileError, _core
from segrid._tiff_colour import Layout, layout_of, missing_value, to_rgb
from segrid._tiff_directory import camera_raw, directories, first_picture

BYTES_OF_A_PIXEL = 8  # decoded samples that are kept may take so many bytes for each of the most pixels
CHANNELLED = ("shaped", "lsm", "mmstack", "ome", "imagej", "ndtiff", "fluoview", "stk", "scn", "qpi", "scanimage")
DEFLATE = (8, 32946)
WITHOUT_IMAGECODECS = (1, 32773, *DEFLATE)  # none, PackBits
WITH_OWN_SIZE = (7, 34892, 33007, 34933, 50001, 34927)  # JPEG, PNG, WebP
JPEG_2000 = (33003, 33004, 33005, 34712)


@dataclass(frozen=True)
class Plane:
    """Where the strips or tiles of one page lie in the file."""

    offsets: Any
    counts: Any
    tables: bytes | None


@dataclass(frozen=True)
class Source:
    """An open file, with the name it has in messages."""

    file: BinaryIO
    name: str
    size: int
    max_pixels: int
    lenient: bool


def read(file: BinaryIO, name: str, *, max_pixels: int, lenient: bool) -> tuple[np.ndarray, list[str]]:
    """((H, W, 3) uint8 RGB, warnings) of an open TIFF, of which only what is needed is read.

    lenient : strips and tiles that cannot be decoded are black, with a warning, rather than an error

    Raises CorruptFileError, ValueError (too many pixels; NaN or Inf), NotImplementedError (samples or colours that are not
    read), ImportError (its compression needs imagecodecs), MemoryError; all name the file.
    """
    source = Source(file, name, file.seek(0, os.SEEK_END), max_pixels, lenient)
    with _silent():
        import tifffile

        pages = directories(file, source.size, name)
        number = first_picture(pages)
        if number is None or camera_raw(pages[number]):
            raise NotImplementedError(
                f"{name}: a camera's raw file (DNG, NEF, ARW, ...) is not read; develop it to TIFF, PNG or JPEG")
        file.seek(0)
        with _told(name, "its tags cannot be read"):
            opened = tifffile.TiffFile(file, name=name.rsplit("/", 1)[-1], _multifile=False)
            page: Any = opened.pages[number]
        _check(page, name, max_pixels)
        layout = layout_of(page, name)
        planes, notes = _planes(opened, page, layout, sum(one.is_picture for one in pages), name)
        parts = [_decoded(source, page, plane, layout, notes) for plane in planes]
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return to_rgb(samples, page, layout, name), notes


class _Silence(logging.Filter):
    """tifffile's log of odd files stays away from stderr while segrid reads: what matters becomes an error or a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "reading", False)


_SILENCE = _Silence()
logging.getLogger("tifffile").addFilter(_SILENCE)


@contextmanager
def _silent() -> Iterator[None]:
    _SILENCE.here.reading = True
    try:
        yield
    finally:
        _SILENCE.here.reading = False


@contextmanager
def _told(name: str, what: str) -> Iterator[None]:
    """What a library raises, as an error that names the file."""
    try:
        yield
    except (MemoryError, NotImplementedError, ImportError) as error:
        raise type(error)(f"{name}: {what} ({error})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise CorruptFileError(f"{name}: TIFF damaged: {what} ({error})") from error
    except Exception as error:  # tifffile and imagecodecs raise many kinds
        raise CorruptFileError(f"{name}: TIFF damaged: {what} ({error})") from error


def _check(page: Any, name: str, max_pixels: int) -> None:
    """Refuses what is too large, damaged or not decoded here, from the tags alone."""
    height, width = page.imagelength, page.imagewidth
    if not (_is_count(height) and _is_count(width)):
        raise CorruptFileError(f"{name}: TIFF damaged: its size is {width!r} x {height!r}")
    if height * width > max_pixels:
        raise ValueError(f"{name}: {width} x {height} pixels; the limit is {max_pixels} pixels (max_pixels)")
    segment = (page.tiledepth, page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip,)
    if not all(map(_is_count, (*segment, page.samplesperpixel, page.imagedepth))):
        raise CorruptFileError(f"{name}: TIFF damaged: its strips or tiles have no size")
    samples = math.prod(segment) * (1 if page.is_tiled else width) * (page.samplesperpixel if page.planarconfig == 1 else 1)
    if samples > 4 * max_pixels:
        raise ValueError(f"{name}: strips or tiles of {samples} samples; the limit is {4 * max_pixels}")
    _check_codec(page, name)
    if page.dtype is None or page.dtype.kind not in "buif":
        raise NotImplementedError(
            f"{name}: TIFF samples of {page.bitspersample} bits, format {page.sampleformat}, are not read; write integers or floats")


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and value > 0


@functools.cache
def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _check_codec(page: Any, name: str) -> None:
    from tifffile import TIFF

    compression, bits = page.compression, page.bitspersample
    title = getattr(compression, "name", str(compression))
    if not _has_imagecodecs():
        plain = compression in WITHOUT_IMAGECODECS and page.predictor in (1, 2) and bits in (1, 8, 16, 32, 64)
        if not plain:
            raise ImportError(
                f"{name}: a TIFF of {bits}-bit samples with compression {title} needs the imagecodecs package: "
                'pip install "segrid[microscopy]" (or pip install imagecodecs)', name="imagecodecs")
        return
    try:
        if compression != 1:
            TIFF.DECOMPRESSORS[compression]
    except KeyError as error:
        raise NotImplementedError(
            f"{name}: TIFF compression {title} is not read; write it with LZW, Deflate, zstd or JPEG") from error


def _planes(opened: Any, page: Any, layout: Layout, pictures: int, name: str) -> tuple[list[Plane], list[str]]:
    """The page's plane, or those of the first three channels where each has a page of its own; and what is left out."""
    first = Plane(page.dataoffsets, page.databytecounts, page.jpegtables)
    channels, every, stacked, series = _channels(opened, page)
    planes = [first]
    if channels > 1 and layout.bands == 1:
        others = [_plane(series, page, number * every) for number in range(1, min(3, channels))]
        planes += [plane for plane in others if plane is not None]
    else:
        channels = 1
    notes = []
    if channels > 3:
        notes.append(f"{name}: TIFF with {channels} channels; the first three are used")
    if layout.bands > layout.most:
        notes.append(f"{name}: TIFF with {layout.bands} bands; the first {('three', 'four')[layout.most - 3]} are used")
    pages = max(stacked * page.imagedepth, pictures) // channels
    if pages > 1:
        notes.append(f"{name}: TIFF with several frames or pages; the first one is used ({pages} in all)")
    return planes, notes


def _channels(opened: Any, page: Any) -> tuple[int, int, int, Any]:
    """Channels that have pages of their own, pages from one to the next, pages in all, and tifffile's series."""
    alone = 1, 1, 1, None
    if not any(getattr(opened, f"is_{kind}", False) for kind in CHANNELLED):
        return alone
    try:
        series = opened.series[0]
        axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
        if series[0] is None or series[0].offset != page.offset:
            return alone
        size = page.size
    except Exception:  # the microscope's own text is damaged or unknown; the first page needs none
        return alone
    inner = next((k for k in range(len(shape) + 1) if math.prod(shape[k:]) == size), None)
    if inner is None:
        return alone
    pages = math.prod(shape[:inner])
    at = axes[:inner].find("C")
    return (1, 1, pages, series) if at < 0 else (shape[at], math.prod(shape[at + 1:inner]), pages, series)


def _plane(series: Any, page: Any, number: int) -> Plane | None:
    """Of a series' page; pages without tags of their own follow the first one in the file."""
    try:
        other = series[number]
        if other is None or other.shape != page.shape or other.dtype != page.dtype:
            return None
        return Plane(other.dataoffsets, other.databytecounts, other.jpegtables)
    except IndexError:
        if not page.is_contiguous:
            return None
        return Plane([offset + number * page.nbytes for offset in page.dataoffsets], page.databytecounts, None)
    except Exception:
        return None


def _decoded(source: Source, page: Any, plane: Plane, layout: Layout, notes: list[str]) -> np.ndarray:
    """(H, W, C) of the samples that the layout takes."""
    height, width = page.imagelength, page.imagewidth
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    each = math.ceil(height / rows) * math.ceil(width / columns)
    depths = math.ceil(page.imagedepth / page.tiledepth) if page.is_tiled else page.imagedepth
    planar = page.planarconfig == 2 and page.samplesperpixel > 1
    wanted = [sample * depths * each + i for sample in layout.taken for i in range(each)] if planar else list(range(each))
    kept = height * width * len(layout.taken) * page.dtype.itemsize
    if kept > BYTES_OF_A_PIXEL * source.max_pixels:
        raise ValueError(f"{source.name}: {width} x {height} pixels of {len(layout.taken)} {page.dtype} samples take {kept} bytes; "
                         f"the limit is {BYTES_OF_A_PIXEL * source.max_pixels}")
    _check_segments(source, page, plane, wanted, kept)
    missing = missing_value(page)
    out = np.full((height, width, len(layout.taken)), 0 if missing is None else missing, page.dtype)
    failed = []
    for index in wanted:
        try:
            _put_segment(source, page, plane, index, layout, out)
        except CorruptFileError as error:
            if not source.lenient:
                raise CorruptFileError(f"{error} (lenient=True returns what can be decoded)") from error
            failed.append(error)
    if len(failed) == len(wanted):
        raise failed[0]
    if failed:
        notes.append(f"{failed[0]}; {len(failed)} of {len(wanted)} strips or tiles are left black")
    return out


def _check_segments(source: Source, page: Any, plane: Plane, wanted: list[int], kept: int) -> None:
    places = min(len(plane.offsets), len(plane.counts))
    if places <= wanted[-1]:
        raise CorruptFileError(f"{source.name}: TIFF damaged: {places} strips or tiles where {wanted[-1] + 1} are needed")
    claimed = sum(int(plane.counts[index]) for index in wanted)
    if claimed > max(source.size, 2 * kept * max(1, page.samplesperpixel)):
        raise CorruptFileError(f"{source.name}: TIFF damaged: its strips or tiles claim {claimed} bytes, the file has {source.size}")


def _put_segment(source: Source, page: Any, plane: Plane, index: int, layout: Layout, out: np.ndarray) -> None:
    offset, count = int(plane.offsets[index]), int(plane.counts[index])
    if offset == 0 and count == 0:
        return  # sparse: nothing was ever written there
    name, kind = source.name, "tile" if page.is_tiled else "strip"
    if offset <= 0 or count <= 0 or offset + count > source.size:
        raise CorruptFileError(f"{name}: TIFF truncated: {kind} {index} ends at byte {offset + count}, the file has {source.size}")
    source.file.seek(offset)
    data = source.file.read(count)
    with _told(name, f"{kind} {index} cannot be decoded"):
        _check_inflation(page, data, name, source.max_pixels)
        segment, (plane_at, _, y, x, _), _ = page.decode(data, index, jpegtables=plane.tables, jpegheader=page.jpegheader)
        samples = np.asarray(segment)[0, : out.shape[0] - y, : out.shape[1] - x]
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            channel = layout.taken.index(plane_at)
            out[y:y + samples.shape[0], x:x + samples.shape[1], channel] = samples[..., 0]
        else:
            first, last = layout.taken[0], layout.taken[-1]
            chosen = slice(first, last + 1) if last - first + 1 == len(layout.taken) else list(layout.taken)
            out[y:y + samples.shape[0], x:x + samples.shape[1]] = samples[..., chosen]


def _check_inflation(page: Any, data: bytes, name: str, max_pixels: int) -> None:
    """Refuses a strip or tile that would decode to far more than its part of the picture, before it is decoded."""
    if page.compression in DEFLATE and not _has_imagecodecs():  # Python's own zlib knows no bound
        rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        samples = rows * columns * (page.samplesperpixel if page.planarconfig == 1 else 1)
        most = samples * page.dtype.itemsize + 4096
        if len(zlib.decompressobj().decompress(data, most)) >= most:
            raise ValueError("it inflates to more than its picture holds")
    if page.compression in WITH_OWN_SIZE and data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")):
        _core.inspect_bytes(data, os.fsencode(name), max_pixels, True)
    if page.compression in JPEG_2000 and (at := data.find(b"\xff\x4f\xff\x51")) >= 0 and len(data) >= at + 16:
        width, height = struct.unpack(">II", data[at + 8:at + 16])
        if width * height > max_pixels:
            raise ValueError(f"a JPEG 2000 image of {width} x {height} pixels; the limit is {max_pixels}")
