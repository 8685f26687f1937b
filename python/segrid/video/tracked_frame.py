"""The masks of one frame of a video."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segrid._native import _core
from segrid.results import Masks


@dataclass(frozen=True)
class TrackedFrame:
    """What a session found in one frame.

    Attributes
    ----------
    index : the frame, from 0
    ids : the objects, in the order in which they were added
    masks : one mask for each object, (H, W) of the video; empty where it is not in the frame
    names : the names of the objects that have one
    progress : "120/251 frames (3.1 frames/s)" while frames are followed, else empty
    """

    index: int
    ids: list[int]
    masks: Masks
    names: dict[int, str] = field(default_factory=dict)
    progress: str = ""

    @classmethod
    def empty(cls, index: int, size: tuple[int, int]) -> TrackedFrame:
        """A frame of (H, W) pixels without objects."""
        return cls(index, [], Masks(_core.no_masks(*size)))

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) logits: an object is in the frame where its score is above 0. NaN where the object
        was neither prompted nor followed in this frame."""
        return self.masks.object_scores

    @property
    def low_res(self) -> NDArray[np.float32] | None:
        """(N, h, w) logits at the model's low resolution, small holes filled; -1024 where an object
        is not in the frame. None for frames so old that only their masks are kept."""
        return self.masks.low_res

    def __getitem__(self, id: int) -> Masks:
        """The mask of one object, as `Masks` of length 1. Raises KeyError for an unknown id."""
        if id not in self.ids:
            raise KeyError(f"object {id}: frame {self.index} has the objects {self.ids}")
        return self.masks[self.ids.index(id)]
