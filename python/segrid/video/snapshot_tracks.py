"""The tracks of a snapshot as arrays.

A column holds one fact of all masks of an object. An entry of its own for each mask would make the
header of a long session larger than a safetensors file may have (100 MB).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np

from segrid._types import JsonObject, Samples
from segrid.video.objects import LARGEST

Prompted = tuple[int, list[tuple[float, float]], list[int]]  # frame, points, labels
LABELS = 1000  # the engine cuts labels to this
LISTS = ("conditioning", "followed", "new_conditioning", "new_followed")  # of the engine
SOME = ("logits", "memory")  # what only some masks have, see `_core.Session.state`
T = TypeVar("T")


def arrays_of(track: JsonObject, place: int) -> dict[str, Samples]:
    """The arrays of the track at `place`, by their names in the file; see `_core.Session.state`."""
    masks = track["masks"]
    columns: dict[str, Samples] = {
        "visited": np.array(track["visited"], np.int64).reshape(-1, 2),
        "list": np.array([LISTS.index(mask["list"]) for mask in masks], np.int64),
        "frame": np.array([mask["frame"] for mask in masks], np.int64),
        "score": np.array([mask["score"] for mask in masks], np.float32),
        "iou": np.array([mask["iou"] for mask in masks], np.float32),
        "prompted": np.array([mask["prompted"] for mask in masks], np.int64),
        "counts": np.frombuffer(b"".join(mask["counts"] for mask in masks), np.uint8),
        "lengths": np.array([len(mask["counts"]) for mask in masks], np.int64),
    }
    if masks:
        columns["pointers"] = np.stack([mask["pointer"] for mask in masks])
    for row, mask in enumerate(masks):
        columns |= {f"{row}/{name}": mask[name] for name in SOME if mask[name] is not None}
    return {f"{place}/{name}": column for name, column in columns.items()}


def facts_of(track: JsonObject) -> JsonObject:
    """What is no array of a track."""
    return {"id": track["id"], "prompts": track["prompts"]}


def by_place(arrays: Mapping[str, Samples], count: int) -> list[dict[str, Samples]]:
    """The arrays of each of `count` tracks, by their names in the track."""
    found: list[dict[str, Samples]] = [{} for _ in range(count)]
    for name, array in arrays.items():
        place, _, rest = name.partition("/")
        if place.isdecimal() and int(place) < count:
            found[int(place)][rest] = array
    return found


def track_of(facts: JsonObject, arrays: Mapping[str, Samples]) -> JsonObject:
    """The track as the engine takes it. Raises KeyError, TypeError, ValueError for what
    `facts_of` and `arrays_of` do not write."""
    visited = arrays["visited"]
    if visited.dtype != np.int64 or visited.ndim != 2 or visited.shape[1] != 2:
        raise ValueError("the frames of a track have another form")
    return {
        "id": whole(facts["id"], -LARGEST),
        "visited": [(whole(frame), bool(back)) for frame, back in visited.tolist()],
        "prompts": [_prompt(*row) for row in facts["prompts"]],
        "masks": list(_masks(arrays)),
    }


def _masks(arrays: Mapping[str, Samples]) -> Iterator[JsonObject]:
    """The masks of a track, from its arrays."""
    count = len(arrays["frame"])
    rows = [
        _column(arrays, name, kind, count).tolist()
        for name, kind in (
            ("list", np.int64),
            ("frame", np.int64),
            ("score", np.float32),
            ("iou", np.float32),
            ("prompted", np.int64),
        )
    ]
    lengths = _column(arrays, "lengths", np.int64, count)
    counts = arrays["counts"]
    text = _column(arrays, "counts", np.uint8, len(counts)).tobytes()
    if (lengths < 0).any() or int(lengths.sum()) != len(text):
        raise ValueError("the run lengths of masks do not fit")
    ends = lengths.cumsum().tolist()
    pointers = arrays["pointers"] if count else ()
    if len(pointers) != count:
        raise ValueError("the pointers of masks do not fit")
    for row, (place, frame, score, iou, prompted) in enumerate(zip(*rows, strict=True)):
        yield {
            "list": LISTS[whole(place, 0, len(LISTS) - 1)],
            "frame": whole(frame),
            "score": score,
            "iou": iou,
            "prompted": bool(prompted),
            "counts": text[ends[row] - int(lengths[row]) : ends[row]],
            "pointer": pointers[row],
            **{name: arrays.get(f"{row}/{name}") for name in SOME},
        }


def _column(arrays: Mapping[str, Samples], name: str, kind: type, count: int) -> Samples:
    column = arrays[name]
    if column.dtype != kind or column.shape != (count,):
        raise ValueError(f"the column {name!r} of a track has another form")
    return column


def _prompt(frame: int, points: list[list[float]], labels: list[int]) -> Prompted:
    clicks = [(float(x), float(y)) for x, y in points]
    return whole(frame), clicks, [whole(label, -LABELS, LABELS) for label in labels]


def whole(value: object, least: int = 0, most: int = LARGEST) -> int:
    """A whole number between two others."""
    if not least <= (number := of_type(int, value)) <= most:
        raise ValueError(f"{value} is not a number from {least} to {most}")
    return int(number)


def of_type(kind: type[T] | tuple[type[T], ...], value: object) -> T:
    """A value of one of these types."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is of another type")
    return value
