"""The calls of a session as data, and what every call shows."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Ellipse:
    """A mask: centre and radii in pixels of the video; of the mask itself where it has a size
    (width, height) of its own."""

    x: float
    y: float
    rx: float
    ry: float
    size: tuple | None = None

    def drawn(self, width, height):
        """(height, width) bool for a video of this size."""
        width, height = self.size or (width, height)
        y, x = np.mgrid[:height, :width]
        return ((x - self.x) / self.rx) ** 2 + ((y - self.y) / self.ry) ** 2 < 1


@dataclass(frozen=True)
class Add:
    """A prompt of one object on one frame: points with labels (1 where not given), a box
    (x0, y0, x1, y1) with or without points, or a mask. replace: the object's earlier points of this
    frame are forgotten, as sam2's clear_old_points; a box always replaces them."""

    id: int
    frame: int = 0
    points: tuple = ()
    labels: tuple | None = None
    box: tuple | None = None
    mask: Ellipse | None = None
    replace: bool = False

    def signs(self):
        return self.labels if self.labels is not None else (1,) * len(self.points)


@dataclass(frozen=True)
class Propagate:
    """Tracking, forward or backward, from `start` (None: the earliest frame with a prompt). frames:
    as sam2's max_frame_num_to_track, how many frames after the first one."""

    direction: str = "forward"
    start: int | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Clear:
    """The prompts of one object on one frame are forgotten."""

    id: int
    frame: int


@dataclass(frozen=True)
class Remove:
    """An object leaves."""

    id: int


@dataclass(frozen=True)
class Reset:
    """All objects leave."""


@dataclass(frozen=True)
class Scenario:
    """Steps on a clip. model: a key of scenarios.MODELS; settings: sam2's own names of settings of
    its predictor; as_transformers: transformers' rules lead to the same results."""

    name: str
    steps: tuple
    model: str = "sam2.1"
    frames: int = 12
    size: tuple = (128, 128)
    settings: dict = field(default_factory=dict)
    as_transformers: bool = False


@dataclass
class Shown:
    """One frame as a step shows it. Objects that have no result on the frame have NaN as score and
    no row of low_res that could be compared.

    ids     : objects, in the order of their first prompts
    logits  : (n, height, width) float32 of the video's size; a mask is logits > 0
    scores  : (n,) float32 logits that the object is on the frame
    low_res : (n, side / 4, side / 4) float32 logits of the decoder after the filling of holes"""

    step: int
    frame: int
    ids: list
    logits: np.ndarray
    scores: np.ndarray
    low_res: np.ndarray
