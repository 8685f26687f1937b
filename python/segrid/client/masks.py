"""Masks that the service found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._types import JsonObject
from segrid.run_lengths import decode_rle

FrameMasks = dict[int, "FoundMask"]  # by object


@dataclass(frozen=True)
class FoundMask:
    """One mask.

    Attributes
    ----------
    rle : COCO's compressed run lengths, counts as text (pycocotools takes it)
    score : predicted IoU; in a video a logit: above 0 the object is in the frame
    area : pixels
    box : [x1, y1, x2, y2], pixels, inclusive maximum
    stability : of an image's mask, else None
    prompt : the index of its prompt, of an image's mask, else None
    """

    rle: JsonObject
    score: float
    area: int
    box: list[float]
    stability: float | None = None
    prompt: int | None = None

    @cached_property
    def array(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return decode_rle(self.rle)


@dataclass(frozen=True)
class Detected:
    """What a detector found: label, class_id (the index of the prompt), score, box XYXY, and the
    run lengths of its mask, or None."""

    label: str
    class_id: int
    score: float
    box: list[float]
    rle: JsonObject | None

    @cached_property
    def array(self) -> NDArray[np.bool_] | None:
        """(H, W) bool."""
        return None if self.rle is None else decode_rle(self.rle)


def found_mask(facts: JsonObject) -> FoundMask:
    """The mask of an answer."""
    names = ("score", "area", "box", "stability", "prompt")
    return FoundMask(facts["mask"], **{name: facts[name] for name in names if name in facts})


def frame_masks(facts: JsonObject) -> FrameMasks:
    """The masks of a frame by object."""
    return {int(number): found_mask(each) for number, each in facts["masks"].items()}


def sent_mask(mask: ArrayLike | JsonObject) -> JsonObject:
    """A mask as the service takes it: run lengths are sent as they are, and an (H, W) array as a
    list of numbers."""
    if isinstance(mask, dict):
        counts = mask["counts"]
        return {**mask, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
    array = np.asarray(mask) > 0
    if array.ndim != 2:
        raise ValueError(f"mask: expected (H, W), got shape {array.shape}")
    columns = np.concatenate([[False], array.T.ravel(), [True]])  # begins with zeros
    edges = np.flatnonzero(columns[1:] != columns[:-1])
    runs = np.diff(np.concatenate([[0], edges, [array.size]]))
    kept = runs if runs[-1] else runs[:-1]
    return {"size": list(array.shape), "counts": kept.tolist()}
