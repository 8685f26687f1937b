"""Notes in the header of a snapshot, which `Tracker.restore` reads as before."""

from __future__ import annotations

import json
from pathlib import Path

from segrid._files import atomic_write
from segrid._native import CorruptFileError
from segrid._types import JsonObject

KEY = "service"  # in the metadata of the safetensors file
LONGEST_HEADER = 100 << 20  # bytes, as the safetensors library has it
# The header's JSON may have so many elements. Each takes tens of bytes as an object of Python; a
# mask has twenty of them.
MOST_ELEMENTS = 4_000_000


def add_notes(path: Path, notes: JsonObject) -> None:
    """Writes the notes into the file. Raises OSError, CorruptFileError."""
    header, start = _header(path)
    header.setdefault("__metadata__", {})[KEY] = json.dumps(notes)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as part, open(path, "rb") as old, open(part, "wb") as new:
        new.write(len(text).to_bytes(8, "little") + text)
        old.seek(start)
        while block := old.read(1 << 20):
            new.write(block)


def read_notes(path: Path) -> JsonObject:
    """The notes of a file; empty where it has none. Raises OSError, CorruptFileError."""
    header, _ = _header(path)
    try:
        notes = json.loads(header.get("__metadata__", {}).get(KEY, "{}"))
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptFileError("snapshot: damaged notes") from error
    return notes if isinstance(notes, dict) else {}


def _header(path: Path) -> tuple[JsonObject, int]:
    """The JSON at the beginning of a safetensors file, and where its arrays begin."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise CorruptFileError("snapshot: not a safetensors file")
        text = file.read(length)
        if sum(text.count(mark) for mark in (b"[", b"{", b",", b"\\u")) > MOST_ELEMENTS:
            raise CorruptFileError(
                f"snapshot: its header has more than {MOST_ELEMENTS} elements, too many to read"
            )
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorruptFileError("snapshot: not a safetensors file") from error
    if not isinstance(header, dict):
        raise CorruptFileError("snapshot: not a safetensors file")
    return header, 8 + length
