"""Finds the masks of two results that are the same object."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from segrid.results import Masks

MATCH = 0.5  # the mask IoU from which two masks count as the same object

Box = tuple[int, int, int, int]
Match = tuple[int, int, float]  # index, index, IoU


@dataclasses.dataclass(frozen=True)
class BoxedMask:
    """A mask, kept as the pixels inside its box."""

    size: tuple[int, int]
    box: Box  # x0, y0, x1, y1, exclusive maximum
    inside: NDArray[np.bool_]  # (y1 - y0, x1 - x0) bool
    area: int

    def pixels(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        full = np.zeros(self.size, bool)
        x0, y0, x1, y1 = self.box
        full[y0:y1, x0:x1] = self.inside
        return full


def iou_of(a: BoxedMask, b: BoxedMask) -> float:
    """The mask IoU of two masks of one image."""
    x0, y0, x1, y1 = (
        max(a.box[0], b.box[0]),
        max(a.box[1], b.box[1]),
        min(a.box[2], b.box[2]),
        min(a.box[3], b.box[3]),
    )
    if x0 >= x1 or y0 >= y1:
        return 0.0
    cut = (m.inside[y0 - m.box[1] : y1 - m.box[1], x0 - m.box[0] : x1 - m.box[0]] for m in (a, b))
    shared = int(np.logical_and(*cut).sum())
    return shared / (a.area + b.area - shared)


def match(reference: list[BoxedMask], other: list[BoxedMask], least: float = MATCH) -> list[Match]:
    """Pairs of masks whose IoU is at least `least`, best first; no mask is in two pairs."""
    pairs = [(iou_of(a, b), i, j) for i, a in enumerate(reference) for j, b in enumerate(other)]
    taken: tuple[set[int], set[int]] = (set(), set())
    matched = []
    for iou, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if iou < least:
            break
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            matched.append((i, j, iou))
    return matched


def crop_to_box(pixels: NDArray[np.bool_]) -> BoxedMask:
    """The pixels of a (H, W) bool mask inside its box; the mask must not be empty."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return BoxedMask(
        (pixels.shape[0], pixels.shape[1]),
        (x0, y0, x1, y1),
        pixels[y0:y1, x0:x1].copy(),
        int(pixels.sum()),
    )


def boxed(masks: Masks) -> list[BoxedMask | None]:
    """The masks as `match` takes them; None in the place of an empty one."""
    return [crop_to_box(mask.array[0]) if mask.areas[0] else None for mask in masks]
