"""A session in one file: a safetensors file whose metadata holds all that is no array."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from segrid._files import atomic_write
from segrid._native import CorruptFileError, _core
from segrid._types import JsonObject, Options, Samples
from segrid.video.objects import LARGEST

FORMAT = "segrid-session-1"
Prompted = tuple[int, list[tuple[float, float]], list[int]]  # frame, points, labels
LABELS = 1000  # the engine cuts labels to this
T = TypeVar("T")
ARRAYS = ("logits", "memory", "pointer")  # of each mask, see `_core.Session.state`


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
    """Writes the file; it is complete or absent. Raises OSError."""
    arrays: dict[str, Samples] = {}
    tracks = [
        {**track, "masks": [_without_arrays(mask, arrays) for mask in track["masks"]]}
        for track in snapshot.tracks
    ]
    session = json.dumps({**vars(snapshot), "tracks": tracks})
    metadata = {"format": FORMAT, "session": session, "checksum": checksum(session, arrays)}
    with atomic_write(path) as part:
        part.write_bytes(save(arrays or {"none": np.zeros(1, np.uint8)}, metadata))


def checksum(session: str, arrays: Mapping[str, Samples]) -> str:
    """CRC-32 of all that a session is made of, which tells damaged bytes."""
    crc = zlib.crc32(session.encode())
    for name in sorted(arrays):
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).data, crc)
    return f"{crc:08x}"


def _without_arrays(mask: JsonObject, arrays: dict[str, Samples]) -> JsonObject:
    """The mask with the names of its arrays in their place."""
    kept = {**mask, "counts": mask["counts"].decode("ascii")}
    for name in ARRAYS:
        if mask[name] is not None:
            kept[name] = str(len(arrays))
            arrays[kept[name]] = mask[name]
    return kept


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
            arrays = _Arrays(file)
            tracks = [_track(track, arrays) for track in facts["tracks"]]
            if metadata["checksum"] != checksum(metadata["session"], arrays.taken):
                raise ValueError("its bytes have changed since it was written")
        if len({track["id"] for track in tracks}) < len(tracks):
            raise ValueError("an object is there twice")
        height, width = facts["size"]
        return Snapshot(
            model_id=_of(str, facts["model_id"]),
            path=_of((str, type(None)), facts["path"]),
            long_side=None if facts["long_side"] is None else _whole(facts["long_side"], 1),
            size=(_whole(height, 1), _whole(width, 1)),
            options=_options(facts["options"]),
            names={int(id): _of(str, name) for id, name in facts["names"].items()},
            categories={int(id): _of(int, number) for id, number in facts["categories"].items()},
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


class _Arrays:
    """The arrays of a snapshot. Each belongs to one mask: a small file that names one again and
    again would take any amount of memory."""

    def __init__(self, file: safe_open) -> None:
        self._file, self._left = file, set(file.keys())
        self.taken: dict[str, Samples] = {}

    def take(self, name: str | None) -> Samples | None:
        if name is None:
            return None
        if name not in self._left:
            raise ValueError(f"array {name!r} is missing, or belongs to two masks")
        self._left.remove(name)
        array: Samples = self._file.get_tensor(name)
        self.taken[name] = array
        return array


def _track(track: JsonObject, arrays: _Arrays) -> JsonObject:
    """The track as the engine takes it."""
    return {
        "id": _whole(track["id"], -LARGEST),
        "visited": [(_whole(frame), _of(bool, back)) for frame, back in track["visited"]],
        "prompts": [_prompt(*row) for row in track["prompts"]],
        "masks": [_mask(mask, arrays) for mask in track["masks"]],
    }


def _prompt(frame: int, points: list[list[float]], labels: list[int]) -> Prompted:
    clicks = [(float(x), float(y)) for x, y in points]
    return _whole(frame), clicks, [_whole(label, -LABELS, LABELS) for label in labels]


def _mask(mask: JsonObject, arrays: _Arrays) -> JsonObject:
    return {
        "list": _of(str, mask["list"]),
        "frame": _whole(mask["frame"]),
        "score": float(mask["score"]),
        "iou": float(mask["iou"]),
        "prompted": _of(bool, mask["prompted"]),
        "counts": mask["counts"].encode("ascii"),
        **{name: arrays.take(mask[name]) for name in ARRAYS},
    }


def _options(options: Options) -> Options:
    """The options of a session; their values are checked when it is opened."""
    if unknown := options.keys() - _core.Session.options().keys():
        raise ValueError(f"unknown option {min(unknown)!r}")
    return {name: _of((int, type(None)), value) for name, value in options.items()}


def _whole(value: object, least: int = 0, most: int = LARGEST) -> int:
    """A whole number between two others."""
    if not least <= (number := int(_of(int, value))) <= most:
        raise ValueError(f"{value} is not a number from {least} to {most}")
    return number


def _of(kind: type[T] | tuple[type[T], ...], value: object) -> T:
    """A value of one of these types."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is of another type")
    return value
