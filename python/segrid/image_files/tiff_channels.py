"""The planes of a TIFF that become one picture: its page, or channels in pages of their own.

tifffile reads the metadata in which microscopes and ImageJ describe their channels. The number of
pages in such metadata is checked before tifffile makes lists of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from segrid._native import CorruptFileError
from segrid._types import TiffFile, TiffPage
from segrid.image_files.tiff_colour import ORIENTATION, Layout, layout_of
from segrid.image_files.tiff_directory import Directory
from segrid.image_files.tiff_limits import Plane, Source, check_page, errors_name_file

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
WITHOUT_TAGS = ("imagej", "shaped", "stk")  # formats whose pages may share one directory
MOST_CLAIMED = 1_000_000  # pages that metadata may name
MOST_REREAD = 4096  # pages whose tags are all read where the tags of channels differ


@dataclass(frozen=True)
class Stack:
    """The pages of a file by its metadata.

    channels : the number of channels that have pages of their own
    apart : the number of pages from one channel to the next
    pages : the number of pages in the file
    series : tifffile's list of the pages; None where no list begins with the first picture
    tagless : the pages after the first one have no directories and follow it in the file
    """

    channels: int
    apart: int
    pages: int
    series: Any = None
    tagless: bool = False


class _LeftOut(Exception):
    """The reason why a channel is left out."""


def planes_of(
    source: Source,
    opened: TiffFile,
    page: TiffPage,
    layout: Layout,
    directories: list[Directory],
    notes: list[str],
) -> list[Plane]:
    """The plane of the page, or the planes of the first three channels where each has its own page.

    A note is added for what is left out.

    Raises what `check_page` raises for the page of a channel; in a lenient read, a damaged channel
    is left out instead.
    """
    name = source.name
    planes = [Plane(page, page.dataoffsets, page.databytecounts, page.jpegtables)]
    stack = _stack(source, opened, page, directories)
    channels = stack.channels if layout.bands == 1 else 1
    if channels > 3:
        notes.append(f"{name}: TIFF with {channels} channels; the first three are used")
    for channel in range(1, min(3, channels)):
        try:
            planes.append(_plane(source, opened, page, layout, stack, channel, directories))
        except (_LeftOut, CorruptFileError) as error:
            if isinstance(error, CorruptFileError) and not source.lenient:
                raise
            notes.append(
                f"{name}: TIFF with {channels} channels; channel {channel + 1} {_why(error)} "
                "and is left out"
            )
    if layout.bands > layout.most:
        notes.append(
            f"{name}: TIFF with {layout.bands} bands; "
            f"the first {('three', 'four')[layout.most - 3]} are used"
        )
    there = channels - (min(3, channels) - len(planes))
    pages = math.ceil(stack.pages * page.imagedepth / there)
    if pages > 1:
        notes.append(
            f"{name}: TIFF with several frames or pages; the first one is used ({pages} in all)"
        )
    return planes


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, _LeftOut) else f"cannot be read ({error})"


def _stack(source: Source, opened: TiffFile, page: TiffPage, directories: list[Directory]) -> Stack:
    pictures = sum(one.is_picture for one in directories)
    if not any(getattr(opened, f"is_{kind}", False) for kind in CHANNELLED):
        return Stack(1, 1, pictures)
    channels = 1
    try:
        claimed, channels = _named(opened)
        alone = Stack(channels, 1, pictures)
        if claimed > MOST_CLAIMED:
            return alone
        series = _series(opened)
        axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
        if (
            series[0] is None or series[0].offset != page.offset
        ):  # the first channel is another page
            return Stack(1, 1, pictures)
        size = page.size
    except Exception:  # damaged or unknown metadata; the first page is read without it
        return Stack(channels, 1, pictures)
    inner = next((k for k in range(len(shape) + 1) if math.prod(shape[k:]) == size), None)
    if inner is None:
        return alone
    at = axes[:inner].find("C")
    listed = math.prod(shape[:inner])
    tagless = (
        series.kind in WITHOUT_TAGS
        and page.is_contiguous
        and (series.is_truncated or len(directories) < listed)
        and series.dataoffset is not None
    )
    pages = pictures
    if tagless:
        fit = (source.size - page.dataoffsets[0]) // page.nbytes
        pages = max(pictures, min(listed, fit))
    if at < 0:
        return Stack(channels, 1, pages)
    return Stack(shape[at], math.prod(shape[at + 1 : inner]), pages, series, tagless)


def _named(opened: TiffFile) -> tuple[int, int]:
    """The number of pages that tifffile would list by the metadata of OME and Micro-Manager, and
    the number of channels of OME's first picture."""
    claimed, channels = 0, 1
    if opened.is_mmstack:
        places = opened.micromanager_metadata["IndexMap"][:, :4].astype(np.float64)
        summary = opened.micromanager_metadata["Summary"]
        sizes = [
            max(most + 1, float(summary.get(key, 1)))
            for most, key in zip(
                places.max(axis=0), ("Channels", "Slices", "Frames", "Positions"), strict=True
            )
        ]
        claimed = int(math.prod(sizes))
    if not opened.is_ome:
        return claimed, channels
    root = ElementTree.fromstring(opened.ome_metadata)
    pictures = [one for one in root.iter() if one.tag.endswith("Pixels")]
    for picture in reversed(pictures):  # in reverse, so that the first one sets the channels
        sizes = [int(picture.attrib[f"Size{axis}"]) for axis in "CZT"]
        if min(sizes) < 1:
            raise ValueError("a size below 1")
        claimed += math.prod(sizes)
        samples = [
            int(one.attrib.get("SamplesPerPixel", 1))
            for one in picture
            if one.tag.endswith("Channel")
        ]
        channels = max(1, sizes[0] // max(1, samples[0] if samples else 1))
    for one in root.iter():
        if one.tag.endswith("TiffData"):
            claimed += max(int(one.attrib.get(key, 0)) for key in ("NumPlanes", "PlaneCount"))
        elif one.tag[:-1].endswith("Along") and "Start" in one.attrib:
            start, stop, step = (float(one.attrib.get(key, 1)) for key in ("Start", "End", "Step"))
            claimed += int(abs((stop - start) / step)) + 1
    return claimed, channels


def _series(opened: TiffFile) -> Any:
    """tifffile's first series of pages."""
    try:
        return opened.series[0]
    except RuntimeError:  # it assumed the tags of the first page for all pages
        if len(opened.pages) > MOST_REREAD:
            raise
        opened.pages.cache = True
        for number in range(len(opened.pages)):
            opened.pages.get(number, cache=True, aspage=True)
        return opened.series[0]


def _plane(
    source: Source,
    opened: TiffFile,
    page: TiffPage,
    layout: Layout,
    stack: Stack,
    channel: int,
    directories: list[Directory],
) -> Plane:
    """The plane of a channel, which is decoded by the tags of its own page where it has tags."""
    number = channel * stack.apart
    if stack.tagless:
        offsets = [offset + number * page.nbytes for offset in page.dataoffsets]
        return Plane(page, offsets, page.databytecounts, None, channel)
    if stack.series is None and stack.pages > channel:
        raise _LeftOut("cannot be found by the text of this file")
    try:
        other = stack.series[number] if stack.series is not None else None
    except IndexError:
        other = None
    if other is None:
        raise _LeftOut("is not in this file")
    place = next((i for i, one in enumerate(directories) if one.place == other.offset), None)
    if place is None:  # it has no tags: those of the first page hold
        if not other.dataoffsets or min(other.dataoffsets) <= 0:
            raise _LeftOut("is not in this file")
        return Plane(page, other.dataoffsets, other.databytecounts, other.jpegtables, channel)
    with errors_name_file(source.name, f"the tags of page {place} cannot be read"):
        other = opened.pages.get(place, aspage=True)
    if other.shape != page.shape or other.dtype != page.dtype:
        raise _LeftOut(
            f"has {_size(other)} of {other.dtype}, the first one {_size(page)} of {page.dtype},"
        )
    check_page(source, other)
    if layout_of(other, source.name) != layout or _stored(other) != _stored(page):
        raise _LeftOut("has other colours, bits or another orientation than the first one")
    return Plane(other, other.dataoffsets, other.databytecounts, other.jpegtables, channel)


def _size(page: TiffPage) -> str:
    return f"{page.imagewidth} x {page.imagelength} pixels"


def _stored(page: TiffPage) -> tuple[object, object]:
    return page.tags.valueof(ORIENTATION, 1), page.bitspersample
