"""A profile: the settings that `segrid tune` recommends for a machine, kept in profile.json."""

from __future__ import annotations

import os
from typing import Any, TypedDict

from segrid._files import read_json

VERSION = 1


class Profile(TypedDict):
    """The settings in a profile. The file also names the model and the machine.

    threads : the thread budget of the process
    in_flight : images computed at once
    precision : as `Segmenter` takes it
    points_per_side : points along each side of the grid of `everything`
    """

    threads: int
    in_flight: int
    precision: str
    points_per_side: int


def profile_of(model: str, settings: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """The content of a profile's file; `settings` has the keys of `Profile`."""
    return {"segrid profile": VERSION, "model": model, **settings, "machine": machine}


def read_profile(path: str | os.PathLike[str]) -> Profile:
    """Reads a profile that `segrid tune` wrote.

    Raises FileNotFoundError; ValueError for other files.
    """
    found = read_json(path)
    numbers = ("threads", "in_flight", "points_per_side")
    if (
        not isinstance(found, dict)
        or found.get("segrid profile") != VERSION
        or not isinstance(found.get("precision"), str)
        or not all(isinstance(found.get(k), int) and 1 <= found[k] <= 1024 for k in numbers)
    ):
        raise ValueError(f"{os.fspath(path)}: not a profile that `segrid tune` wrote")
    return Profile(
        threads=found["threads"],
        in_flight=found["in_flight"],
        precision=found["precision"],
        points_per_side=found["points_per_side"],
    )
