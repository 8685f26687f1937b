"""What the writers take: the objects of one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segrid.results import Masks


class Tracked(Protocol):
    """The objects of one frame, as a session's `propagate` gives them.

    Attributes
    ----------
    index : the frame, from 0
    ids : the objects' numbers
    masks : one mask for each id, in the same order; empty where the object is lost
    scores : one score for each id
    names : names of objects by id; not every object has one
    """

    @property
    def index(self) -> int: ...
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def masks(self) -> Masks: ...
    @property
    def scores(self) -> NDArray[np.floating]: ...
    @property
    def names(self) -> Mapping[int, str]: ...


def label_of(tracked: Tracked, number: int) -> str:
    """The name of an object with its number, or the number alone: "dog #1", "#1"."""
    name = tracked.names.get(number, "")
    return f"{name} #{number}" if name else f"#{number}"
