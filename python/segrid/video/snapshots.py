"""A session in one file: a safetensors file whose metadata holds all that is no array."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from segrid._files import atomic_write
from segrid._native import CorruptFileError
from segrid._types import JsonObject, Options, Samples

FORMAT = "segrid-session-1"
Prompted = tuple[int, list[tuple[float, float]], list[int]]  # frame, points, labels
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
    facts = {**vars(snapshot), "tracks": tracks}
    metadata = {"format": FORMAT, "session": json.dumps(facts)}
    with atomic_write(path) as part:
        part.write_bytes(save(arrays or {"none": np.zeros(1, np.uint8)}, metadata))


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
            for track in facts["tracks"]:
                track["visited"] = [tuple(visit) for visit in track["visited"]]
                track["prompts"] = [_prompt(row) for row in track["prompts"]]
                for mask in track["masks"]:
                    mask["counts"] = mask["counts"].encode("ascii")
                    for array in ARRAYS:
                        if mask[array] is not None:
                            mask[array] = file.get_tensor(mask[array])
        numbered = {
            key: {int(id): value for id, value in facts[key].items()}
            for key in ("names", "categories")
        }
        return Snapshot(**{**facts, **numbered, "size": tuple(facts["size"])})
    except (
        SafetensorError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        RecursionError,  # of JSON that is nested too deeply
    ) as error:
        if isinstance(error, CorruptFileError):
            raise
        raise CorruptFileError(f"{name}: a damaged snapshot ({error})") from error


def _prompt(
    row: tuple[int, list[list[float]], list[int]],
) -> tuple[int, list[tuple[float, float]], list[int]]:
    frame, points, labels = row
    return frame, [(x, y) for x, y in points], labels
