"""Reads the first picture of a TIFF as upright 8-bit RGB, by the rules in `segrid._image`.

tifffile interprets the tags and decodes strips and tiles; imagecodecs decompresses what Python's
standard library cannot. The claims of a file are checked against its size and the limits
(`tiff_limits`) before memory is allocated.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segrid._native import CorruptFileError
from segrid._types import Samples, TiffPage
from segrid.image_files.tiff_channels import planes_of
from segrid.image_files.tiff_colour import Layout, layout_of, missing_value, to_rgb
from segrid.image_files.tiff_directory import camera_raw, directories, first_picture
from segrid.image_files.tiff_limits import (
    Plane,
    Source,
    check_page,
    checked_segment,
    errors_name_file,
    segment_place,
    wanted_segments,
)


def read(
    file: BinaryIO, name: str, *, max_pixels: int, lenient: bool
) -> tuple[NDArray[np.uint8], list[str]]:
    """((H, W, 3) uint8 RGB, warnings) of an open TIFF. Only the parts that are needed are read.

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
        with errors_name_file(name, "its tags cannot be read"):
            opened = tifffile.TiffFile(file, name=name.rsplit("/", 1)[-1], _multifile=False)
            page: TiffPage = opened.pages[number]
        check_page(source, page)
        layout = layout_of(page, name)
        planes = planes_of(source, opened, page, layout, pages, notes)
        missing = missing_value(page)
        parts = _parts(source, planes, layout, 0 if missing is None else missing, notes)
        return to_rgb(*_joined(parts), page, layout, name), notes


class _Silence(logging.Filter):
    """Keeps tifffile's log messages away from stderr while segrid reads a file.

    Where they matter, segrid raises an error or a warning of its own.
    """

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


@dataclass(frozen=True)
class Decoded:
    """Samples of a picture.

    samples : (H, W, C); lost : (H, W, C) bool of those that could not be decoded; None: all could
    """

    samples: Samples
    lost: NDArray[np.bool_] | None


def _parts(
    source: Source, planes: list[Plane], layout: Layout, empty: float | int, notes: list[str]
) -> list[Decoded]:
    """The samples of the planes. In a lenient read, channels of which nothing can be decoded are
    left out."""
    parts: list[Decoded] = []
    for plane in planes:
        try:
            parts.append(_decoded(source, plane, layout, empty, notes))
        except CorruptFileError as error:
            if not source.lenient or (plane is planes[-1] and not parts):
                raise
            notes.append(f"{error}; channel {plane.channel + 1} is left out")
    return parts


def _joined(parts: list[Decoded]) -> tuple[Samples, NDArray[np.bool_] | None]:
    if len(parts) == 1:
        return parts[0].samples, parts[0].lost
    samples = np.concatenate([part.samples for part in parts], axis=2)
    if all(part.lost is None for part in parts):
        return samples, None
    lost = [np.zeros(p.samples.shape, bool) if p.lost is None else p.lost for p in parts]
    return samples, np.concatenate(lost, axis=2)


def _decoded(
    source: Source, plane: Plane, layout: Layout, empty: float | int, notes: list[str]
) -> Decoded:
    """The samples of a plane that the layout uses.

    empty : the value of strips and tiles that were never written
    """
    page = plane.page
    height, width = page.imagelength, page.imagewidth
    shape = height, width, len(layout.taken)
    wanted = wanted_segments(source, plane, layout.taken)
    out = np.full(shape, empty, page.dtype)
    lost, first, failed = None, None, 0
    for index in wanted:
        try:
            _put_segment(source, plane, int(index), layout, out)
        except CorruptFileError as error:
            if not source.lenient:
                raise CorruptFileError(
                    f"{error} (lenient=True returns what can be decoded)"
                ) from error
            lost = np.zeros(shape, bool) if lost is None else lost
            lost[segment_place(page, int(index), layout.taken)] = True
            first, failed = first or error, failed + 1
    if first is not None:
        if failed == len(wanted):
            raise first
        out[lost] = 0  # a damaged strip may have been decoded in part
        notes.append(f"{first}; {failed} of {len(wanted)} strips or tiles are left black")
    return Decoded(out, lost)


def _put_segment(source: Source, plane: Plane, index: int, layout: Layout, out: Samples) -> None:
    page = plane.page
    offset, count = int(plane.offsets[index]), int(plane.counts[index])
    if offset == 0 and count == 0:
        return  # sparse: it was never written
    name, kind = source.name, "tile" if page.is_tiled else "strip"
    if offset <= 0 or count <= 0 or offset + count > source.size:
        raise CorruptFileError(
            f"{name}: TIFF truncated: {kind} {index} ends at byte {offset + count}, "
            f"the file has {source.size}"
        )
    source.file.seek(offset)
    data = source.file.read(count)
    with errors_name_file(name, f"{kind} {index} cannot be decoded"):
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
