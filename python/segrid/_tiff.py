"""TIFF files to 8-bit RGB by the rules that `_image` states: the first picture, upright.

tifffile says what the tags mean and decodes strips and tiles; imagecodecs decompresses what
Python's own library does not.
What a file claims is held against what it has (`_tiff_limits`) before anything is allocated.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from segrid._native import CorruptFileError
from segrid._tiff_colour import Layout, layout_of, missing_value, to_rgb
from segrid._tiff_directory import camera_raw, directories, first_picture
from segrid._tiff_limits import (
    Plane,
    Source,
    check_page,
    check_segments,
    checked_segment,
    segment_size,
)

CHANNELLED = (
    "shaped",
    "lsm",
    "mmstack",
    "ome",
    "imagej",
    "ndtiff",
    "fluoview",
    "stk",
    "scn",
    "qpi",
    "scanimage",
)


def read(
    file: BinaryIO, name: str, *, max_pixels: int, lenient: bool
) -> tuple[np.ndarray, list[str]]:
    """((H, W, 3) uint8 RGB, warnings) of an open TIFF, of which only what is needed is read.

    lenient : strips and tiles that cannot be decoded are black, with a warning, where otherwise
        an error is raised

    Raises CorruptFileError, ValueError (too many pixels; NaN or Inf), NotImplementedError (samples
    or colours that are not read), ImportError (its compression needs imagecodecs), MemoryError; all
    name the file.
    """
    source = Source(file, name, file.seek(0, os.SEEK_END), max_pixels, lenient)
    with _silent():
        import tifffile

        pages, notes = directories(source)
        number = first_picture(pages)
        if number is None or camera_raw(pages[number]):
            raise NotImplementedError(
                f"{name}: a camera's raw file (DNG, NEF, ARW, ...) is not read; "
                "develop it to TIFF, PNG or JPEG"
            )
        file.seek(0)
        with _told(name, "its tags cannot be read"):
            opened = tifffile.TiffFile(file, name=name.rsplit("/", 1)[-1], _multifile=False)
            page: Any = opened.pages[number]
        check_page(source, page)
        layout = layout_of(page, name)
        planes = _planes(opened, page, layout, sum(one.is_picture for one in pages), name, notes)
        parts = [_decoded(source, page, plane, layout, notes) for plane in planes]
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return to_rgb(samples, page, layout, name), notes


class _Silence(logging.Filter):
    """Keeps tifffile's log of odd files away from stderr while segrid reads.

    What matters of it becomes an error or a warning."""

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
    """The error that a library raised, as one that names the file."""
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


def _planes(
    opened: Any, page: Any, layout: Layout, pictures: int, name: str, notes: list[str]
) -> list[Plane]:
    """The page's plane, or those of the first three channels where each has a page of its own.

    What is left out is added to the notes."""
    first = Plane(page.dataoffsets, page.databytecounts, page.jpegtables)
    channels, every, stacked, series = _channels(opened, page)
    planes = [first]
    if channels > 1 and layout.bands == 1:
        others = [_plane(series, page, number * every) for number in range(1, min(3, channels))]
        planes += [plane for plane in others if plane is not None]
    else:
        channels = 1
    if channels > 3:
        notes.append(f"{name}: TIFF with {channels} channels; the first three are used")
    if layout.bands > layout.most:
        notes.append(
            f"{name}: TIFF with {layout.bands} bands; "
            f"the first {('three', 'four')[layout.most - 3]} are used"
        )
    pages = max(stacked * page.imagedepth, pictures) // channels
    if pages > 1:
        notes.append(
            f"{name}: TIFF with several frames or pages; the first one is used ({pages} in all)"
        )
    return planes


def _channels(opened: Any, page: Any) -> tuple[int, int, int, Any]:
    """How many channels have pages of their own, how many pages there are from one to the next and
    in all, and tifffile's series."""
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
    return (
        (1, 1, pages, series)
        if at < 0
        else (shape[at], math.prod(shape[at + 1 : inner]), pages, series)
    )


def _plane(series: Any, page: Any, number: int) -> Plane | None:
    """The plane that a page of a series holds.

    Pages without tags of their own follow the first page in the file.
    """
    try:
        other = series[number]
        if other is None or other.shape != page.shape or other.dtype != page.dtype:
            return None
        return Plane(other.dataoffsets, other.databytecounts, other.jpegtables)
    except IndexError:
        if not page.is_contiguous:
            return None
        return Plane(
            [offset + number * page.nbytes for offset in page.dataoffsets],
            page.databytecounts,
            None,
        )
    except Exception:
        return None


def _decoded(
    source: Source, page: Any, plane: Plane, layout: Layout, notes: list[str]
) -> np.ndarray:
    """(H, W, C) of the samples that the layout takes."""
    height, width = page.imagelength, page.imagewidth
    rows, columns = segment_size(page)
    each = math.ceil(height / rows) * math.ceil(width / columns)
    depths = math.ceil(page.imagedepth / page.tiledepth) if page.is_tiled else page.imagedepth
    planar = page.planarconfig == 2 and page.samplesperpixel > 1
    wanted = (
        [sample * depths * each + i for sample in layout.taken for i in range(each)]
        if planar
        else list(range(each))
    )
    check_segments(
        source, page, plane, wanted, kept=height * width * len(layout.taken) * page.dtype.itemsize
    )
    missing = missing_value(page)
    out = np.full((height, width, len(layout.taken)), 0 if missing is None else missing, page.dtype)
    failed = []
    for index in wanted:
        try:
            _put_segment(source, page, plane, index, layout, out)
        except CorruptFileError as error:
            if not source.lenient:
                raise CorruptFileError(
                    f"{error} (lenient=True returns what can be decoded)"
                ) from error
            failed.append(error)
    if len(failed) == len(wanted):
        raise failed[0]
    if failed:
        notes.append(f"{failed[0]}; {len(failed)} of {len(wanted)} strips or tiles are left black")
    return out


def _put_segment(
    source: Source, page: Any, plane: Plane, index: int, layout: Layout, out: np.ndarray
) -> None:
    offset, count = int(plane.offsets[index]), int(plane.counts[index])
    if offset == 0 and count == 0:
        return  # sparse: nothing was ever written there
    name, kind = source.name, "tile" if page.is_tiled else "strip"
    if offset <= 0 or count <= 0 or offset + count > source.size:
        raise CorruptFileError(
            f"{name}: TIFF truncated: {kind} {index} ends at byte {offset + count}, "
            f"the file has {source.size}"
        )
    source.file.seek(offset)
    data = source.file.read(count)
    with _told(name, f"{kind} {index} cannot be decoded"):
        data = checked_segment(source, page, data)
        segment, (plane_at, _, y, x, _), _ = page.decode(
            data, index, jpegtables=plane.tables, jpegheader=page.jpegheader
        )
        samples = np.asarray(segment)[0, : out.shape[0] - y, : out.shape[1] - x]
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            channel = layout.taken.index(plane_at)
            out[y : y + samples.shape[0], x : x + samples.shape[1], channel] = samples[..., 0]
        else:
            first, last = layout.taken[0], layout.taken[-1]
            chosen = (
                slice(first, last + 1)
                if last - first + 1 == len(layout.taken)
                else list(layout.taken)
            )
            out[y : y + samples.shape[0], x : x + samples.shape[1]] = samples[..., chosen]
