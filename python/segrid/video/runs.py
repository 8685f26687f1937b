"""The frames of a run through a video, and how many there will be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Literal

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True)
class Run:
    """Frames in one direction. last : None goes on to the end of the video."""

    first: int
    last: int | None
    backwards: bool = False

    @property
    def indices(self) -> Iterable[int]:
        """The frames in their order."""
        step = -1 if self.backwards else 1
        return count(self.first) if self.last is None else range(self.first, self.last + step, step)


def runs_of(direction: Direction, start: int, most: int | None, end: int | None) -> list[Run]:
    """The runs of `Session.propagate`.

    most : frames after the first; None: all
    end : the number of frames; None where it is not known
    """
    runs = []
    if direction != "backward":
        limits = ([] if end is None else [end - 1]) + ([] if most is None else [start + most])
        runs.append(Run(start, min(limits, default=None)))
    if direction != "forward" and start > 0:  # sam2 does not go back from the first frame
        lowest = 0 if most is None else max(0, start - most)
        runs.append(Run(start - 1 if direction == "both" else start, lowest, backwards=True))
    return runs


def length_of(
    direction: Direction, start: int, most: int | None, claimed: int | None
) -> int | None:
    """The number of frames of these runs in a video of `claimed` frames; None where that is not
    known, or ends before the start, as some headers claim."""
    runs = runs_of(direction, start, most, claimed)
    if direction != "backward" and (claimed is None or claimed <= start):
        return None
    return sum(abs(run.last - run.first) + 1 for run in runs if run.last is not None)
