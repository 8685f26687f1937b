"""A session in one file: a safetensors file whose metadata holds all that is no array."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from segrid._files import atomic_write
from segrid._native import CorruptFileError, _core
from segrid._types import JsonObject, Options, Samples
from segrid.video.snapshot_tracks import (
    arrays_of,
    by_place,
    facts_of,
    of_type,
    track_of,
    whole,
)

FORMAT = "segrid-session-2"


@dataclass(frozen=True)
class Opened:
    """How a video was opened, see `Tracker.open`. path: None where it has none."""

    path: str | None
    long_side: int | None


@dataclass
class Snapshot:
    """What a session is made of, without the video.

    Attributes
    ----------
    model_id : of the weights
    path : of the video; None where it was not opened by a path
    long_side : see `Tracker.open`
    size : (H, W) of the video, pixels
    options : of the session
    names, categories : of the objects that have one
    tracks : the engine's state, see `_core.Session.state`
    """

    model_id: str
    path: str | None
    long_side: int | None
    size: tuple[int, int]
    options: Options
    names: dict[int, str]
    categories: dict[int, int]
    tracks: list[JsonObject] = field(default_factory=list)


def write_snapshot(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Writes the file; it is complete or absent.

    Raises OSError, and ValueError for a session that is too large for a file.
    """
    arrays: dict[str, Samples] = {}
    for place, track in enumerate(snapshot.tracks):
        arrays |= arrays_of(track, place)
    session = json.dumps({**vars(snapshot), "tracks": [facts_of(t) for t in snapshot.tracks]})
    metadata = {"format": FORMAT, "session": session, "checksum": checksum(session, arrays)}
    try:
        content = save(arrays or {"none": np.zeros(1, np.uint8)}, metadata)
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: the session is too large ({error})") from error
    with atomic_write(path) as part:
        part.write_bytes(content)


def checksum(session: str, arrays: Mapping[str, Samples]) -> str:
    """CRC-32 of all that a session is made of, which tells damaged bytes."""
    crc = zlib.crc32(session.encode())
    for name in sorted(arrays):
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).data, crc)
    return f"{crc:08x}"


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Reads what `write_snapshot` wrote.

    Raises FileNotFoundError and other OSErrors, and CorruptFileError for any other file.
    """
    name = os.fspath(path)
    with open(name, "rb"):
        pass  # raises for what is missing, a folder or not permitted
    try:
        with safe_open(name, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CorruptFileError(f"{name}: not a snapshot of a session ({FORMAT})")
            facts = json.loads(metadata["session"])
            named = file.keys() if facts["tracks"] else ()
            arrays: dict[str, Samples] = {name: file.get_tensor(name) for name in named}
            each = by_place(arrays, len(facts["tracks"]))
            tracks = [track_of(*pair) for pair in zip(facts["tracks"], each, strict=True)]
            if metadata["checksum"] != checksum(metadata["session"], arrays):
                raise ValueError("its bytes have changed since it was written")
        if len({track["id"] for track in tracks}) < len(tracks):
            raise ValueError("an object is there twice")
        height, width = facts["size"]
        return Snapshot(
            model_id=of_type(str, facts["model_id"]),
            path=of_type((str, type(None)), facts["path"]),
            long_side=None if facts["long_side"] is None else whole(facts["long_side"], 1),
            size=(whole(height, 1), whole(width, 1)),
            options=_options(facts["options"]),
            names={int(id): of_type(str, name) for id, name in facts["names"].items()},
            categories={
                int(id): of_type(int, number) for id, number in facts["categories"].items()
            },
            tracks=tracks,
        )
    except (
        SafetensorError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        OverflowError,
        RecursionError,  # of JSON that is nested too deeply
    ) as error:
        if isinstance(error, CorruptFileError):
            raise
        raise CorruptFileError(f"{name}: a damaged snapshot ({error})") from error


def _options(options: Options) -> Options:
    """The options of a session; their values are checked when it is opened."""
    if unknown := options.keys() - _core.Session.options().keys():
        raise ValueError(f"unknown option {min(unknown)!r}")
    return {name: of_type((int, type(None)), value) for name, value in options.items()}
