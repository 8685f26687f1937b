"""The directories of a TIFF: the number of its pages, and the page that is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segrid._native import CorruptFileError
from segrid.image_files.tiff_limits import Source

MOST_TAGS = 4096  # tifffile and libtiff have the same limit
MOST_PAGES = 65_536  # pages after these are not counted
REDUCED, MASK = 1, 4  # bits of NewSubfileType
SUBFILE, PHOTOMETRIC, SUBDIRECTORIES, DNG_VERSION = 254, 262, 330, 50706
SENSOR = (32803, 34892)  # photometric: colour filter array, linear raw
BYTES = np.zeros(65_536, np.int64)  # the size of a value, by its type
BYTES[1:14] = 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4
BYTES[16:19] = 8


@dataclass(frozen=True)
class Directory:
    """The tags of one page.

    place : the byte of the file at which it begins
    values : of the tags SUBFILE and PHOTOMETRIC, by their codes, where they hold one short or long
        number in the directory itself
    codes : those of SUBDIRECTORIES and DNG_VERSION that are there
    """

    place: int
    values: dict[int, int]
    codes: frozenset[int]

    @property
    def is_picture(self) -> bool:
        """Whether the page is neither a smaller copy of another page nor the mask of one."""
        return not self.values.get(SUBFILE, 0) & (REDUCED | MASK)


def directories(source: Source) -> tuple[list[Directory], list[str]]:
    """The directories of the file's pages in their order, and warnings.

    The chain ends where the next page is no directory, or was visited before.

    Raises CorruptFileError where the first directory is missing, where the file ends before or
    within the directory of a page (except in a lenient read), or where the tags of a page claim, or
    all directories together take, more bytes than the file has.
    """
    file, size, name = source.file, source.size, source.name
    file.seek(0)
    head = file.read(16).ljust(16, b"\0")
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    width = 8 if big else 4
    place = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    entry = np.dtype(
        [
            ("code", order + "u2"),
            ("type", order + "u2"),
            ("count", f"{order}u{width}"),
            ("value", f"V{width}"),
        ]
    )
    found: list[Directory] = []
    complete = True
    taken = 0  # bytes of all directories
    seen: set[int] = set()
    while place and place not in seen and len(found) < MOST_PAGES:
        seen.add(place)
        try:
            tags = _tags(file, min(place, size), order + ("Q" if big else "H"), entry)
        except EOFError:
            complete = False
            break
        if tags is None:
            break
        taken += len(tags) * entry.itemsize
        _check_claims(tags, taken, source, len(found))
        named = {code for code in (SUBDIRECTORIES, DNG_VERSION) if (tags["code"] == code).any()}
        found.append(Directory(place, _numbers(tags, order), frozenset(named)))
        following = file.read(width)
        if len(following) < width:
            complete = False
            break
        place = int.from_bytes(following, "little" if order == "<" else "big")
    if not found:
        raise CorruptFileError(
            f"{name}: TIFF truncated or damaged: its first directory is not at byte {place}, "
            "where the header says"
        )
    if place < size and complete:
        return found, []
    missing = (
        f"{name}: TIFF truncated: page {len(found)} is at byte {place}, the file has {size}"
        if place >= size
        else f"{name}: TIFF truncated: the file ends at byte {size}, within the tags of a page at "
        f"byte {place}"
    )
    if not source.lenient:
        raise CorruptFileError(f"{missing} (lenient=True reads the first page all the same)")
    return found, [missing]


def _check_claims(tags: NDArray[np.void], taken: int, source: Source, page: int) -> None:
    """Raises CorruptFileError where the tags of a page claim more bytes than the file has, or where
    the directories up to this page take more: then they overlap, and would have no end.

    taken : bytes of these directories
    """
    name, size = source.name, source.size
    claimed = int(np.minimum(tags["count"].astype(np.float64) * BYTES[tags["type"]], 2.0**62).sum())
    if claimed > size:
        raise CorruptFileError(
            f"{name}: TIFF damaged: the tags of page {page} claim {claimed} bytes, the file has "
            f"{size}"
        )
    if taken > size:
        raise CorruptFileError(
            f"{name}: TIFF damaged: the directories of its first {page + 1} pages take {taken} "
            f"bytes, the file has {size}"
        )


def _tags(
    file: BinaryIO, place: int, number_format: str, entry: np.dtype[Any]
) -> NDArray[np.void] | None:
    """The entries of the directory at that place; None where there is none.

    Raises EOFError where the file ends within it.
    """
    file.seek(place)
    width = struct.calcsize(number_format)
    head = file.read(width)
    if len(head) < width:
        raise EOFError
    number = struct.unpack(number_format, head)[0]
    if not 0 < number <= MOST_TAGS:
        return None
    data = file.read(entry.itemsize * number)
    if len(data) < entry.itemsize * number:
        raise EOFError
    return np.frombuffer(data, entry)


def _numbers(tags: NDArray[np.void], order: str) -> dict[int, int]:
    tags = tags[np.isin(tags["code"], (SUBFILE, PHOTOMETRIC))]
    return {
        int(tag["code"]): struct.unpack(
            order + ("H" if tag["type"] == 3 else "I"),
            bytes(tag["value"])[: 2 if tag["type"] == 3 else 4],
        )[0]
        for tag in tags[(tags["count"] == 1) & ((tags["type"] == 3) | (tags["type"] == 4))]
    }


def first_picture(pages: list[Directory]) -> int | None:
    """The first page that is not a smaller copy of another.

    None where the chain has only copies, as in raw files of cameras.
    """
    number = next((i for i, page in enumerate(pages) if page.is_picture), None)
    if number is None and SUBDIRECTORIES not in pages[0].codes:
        return 0
    return number


def camera_raw(page: Directory) -> bool:
    """Whether a page holds samples of a sensor, or is the preview of such a file."""
    return DNG_VERSION in page.codes or page.values.get(PHOTOMETRIC) in SENSOR
