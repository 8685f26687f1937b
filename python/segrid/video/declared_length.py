"""How long a video file says that it is. A file that is shorter was cut off.

FFmpeg ends such a file without an error in some containers.
"""

from __future__ import annotations

import os
from typing import BinaryIO

BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"udta", b"meta")
    + (b"sidx", b"mfra", b"styp")
)
MOST_BOXES = 100_000  # of a fragmented file
OPEN_RIFF = (0, 0xFFFFFFFF)  # sizes of files that were written where nobody could go back
EBML, SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def declared_length(file: BinaryIO) -> int | None:
    """Returns the number of bytes by the headers of MP4 and MOV, AVI or Matroska and WebM; None
    for other files, and where the header leaves it open (a live recording). The file's position
    stays as it is."""
    before = file.tell()
    try:
        file.seek(0)
        head = file.read(256)
        if head[:4] == b"RIFF":
            size = int.from_bytes(head[4:8], "little")
            return None if size in OPEN_RIFF else 8 + size
        if head[:4] == EBML:
            return _matroska(head)
        return _boxes(file) if head[4:8] in BOXES else None
    finally:
        file.seek(before)


def _boxes(file: BinaryIO) -> int | None:
    """The end of the last box of an MP4 file: a box begins with its size and its name."""
    length, end = file.seek(0, os.SEEK_END), 0
    for _ in range(MOST_BOXES):
        file.seek(end)
        head = file.read(16)
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if name not in BOXES or size < 8:  # size 0: to the end of the file
            return end or None
        end += size
        if end >= length:
            return end
    return None


def _matroska(head: bytes) -> int | None:
    """The end of the segment: an element begins with its name and its size."""
    size, at = _number(head, 4)
    if size is None or head[at + size : at + size + 4] != SEGMENT:
        return None
    at += size + 4
    size, at = _number(head, at)
    return None if size is None else at + size


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML number and the place after it. The zeros before its first one tell its length; a
    number of nothing but ones is unknown."""
    if at >= len(data) or data[at] == 0:
        return None, at
    length = 9 - data[at].bit_length()
    mask = (1 << (7 * length)) - 1
    value = int.from_bytes(data[at : at + length], "big") & mask
    return (None if value == mask else value), at + length
