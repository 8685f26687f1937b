"""The prompt of one object in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._types import Options
from segrid.prompt_arrays import numbers, point_arrays

Way = Literal["forward", "backward"]


@dataclass(frozen=True)
class Manner:
    """How a prompt is read, and what it is decoded with; `Session.add` says what each means.

    Raises ValueError for an unknown direction.
    """

    replace: bool = False
    anywhere: bool = False
    anew: bool = False
    direction: Way | None = None

    def __post_init__(self) -> None:
        if self.direction not in (None, *get_args(Way)):
            raise ValueError(f"direction: expected forward or backward, got {self.direction!r}")

    @property
    def backwards(self) -> bool | None:
        """The direction as the engine takes it."""
        return None if self.direction is None else self.direction == "backward"

    def options(self) -> Options:
        """All of it as the engine takes it."""
        return {
            "replace": self.replace,
            "anywhere": self.anywhere,
            "anew": self.anew,
            "backwards": self.backwards,
        }


class Prompt:
    """The prompt of one object as the engine takes it.

    Raises ValueError for shapes that do not fit, and for nothing at all.
    """

    def __init__(
        self,
        points: ArrayLike | None,
        labels: ArrayLike | None,
        boxes: ArrayLike | None,
        mask: ArrayLike | None,
        manner: Manner,
    ) -> None:
        if points is None and boxes is None and mask is None:
            raise ValueError("add: no prompt; give points, boxes or mask")
        if mask is not None and (points is not None or boxes is not None):
            raise ValueError("add: a mask takes the place of points and boxes; give one of them")
        self.points = self.labels = self.box = self.mask = None
        self.manner = manner
        if mask is not None:
            self.mask = _pixels(mask)
        if points is not None:
            self.points, self.labels = _clicks(points, labels, manner)
        elif labels is not None:
            raise ValueError("labels: given without points")
        if boxes is not None:
            box = numbers("boxes", boxes)
            if box.shape not in ((4,), (1, 4)):
                raise ValueError(
                    f"boxes: one object has one box, (4,) or (1, 4) XYXY; got shape {box.shape}"
                )
            self.box = box.reshape(4)


def _pixels(mask: ArrayLike) -> NDArray[np.bool_]:
    """(H, W) bool: which pixels are above 0. Raises ValueError for another shape."""
    pixels = np.asarray(mask)
    if pixels.ndim != 2:
        first = "; take its first mask, mask[0]" if pixels.ndim == 3 and len(pixels) == 1 else ""
        raise ValueError(f"mask: expected (H, W), got shape {pixels.shape}{first}")
    return np.ascontiguousarray(pixels > 0)


def _clicks(
    points: ArrayLike, labels: ArrayLike | None, manner: Manner
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(K, 2) points and (K,) labels. Raises ValueError for other shapes and for no points."""
    clicks = numbers("points", points)
    clicks = clicks[None] if clicks.shape == (2,) else clicks
    if clicks.ndim != 2 or clicks.shape[1] != 2 or not (len(clicks) or manner.anywhere):
        raise ValueError(
            f"points: expected (K, 2), the clicks of one object, got shape {np.shape(points)}"
        )
    signs = None if labels is None else numbers("labels", labels)
    if signs is not None and signs.shape != (len(clicks),):
        raise ValueError(
            f"labels: expected one for each point, ({len(clicks)},), got shape {signs.shape}"
        )
    prompts, given = point_arrays(
        clicks[None], None if signs is None else signs[None], anywhere=manner.anywhere
    )
    assert prompts is not None and given is not None
    return prompts[0], given[0]
