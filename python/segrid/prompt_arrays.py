"""Prompts of users as the arrays that the engine takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def numbers(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """The value as float64. Raises ValueError naming it where it holds no numbers."""
    try:
        return np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers in a regular array ({error})") from error


def point_arrays(
    points: ArrayLike | None, labels: ArrayLike | None, *, anywhere: bool
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    """(P, K, 2) float64 points and (P, K) int64 labels; None without points.

    Raises ValueError for shapes and labels that do not fit.
    """
    if points is None:
        if labels is not None:
            raise ValueError("labels: given without points")
        return None, None
    points = numbers("points", points)
    if points.ndim == 2 and points.shape[1] == 2:
        count = len(points)
        if labels is not None and count > 1 and np.size(labels) == 1:
            raise ValueError(
                f"labels: one label for {count} prompts of one point each. In segment-anything a "
                "(K, 2) array is one prompt of K points: pass points[None] with labels[None] for "
                "that"
            )
        points = points[:, None, :]
    if points.ndim != 3 or points.shape[2] != 2:
        raise ValueError(f"points: expected (P, 2) or (P, K, 2), got shape {points.shape}")
    if points.shape[0] == 0 or points.shape[1] == 0 and not anywhere:
        raise ValueError(f"predict: no prompts; points has shape {points.shape}")
    if labels is None:
        return points, np.ones(points.shape[:2], np.int64)
    given = numbers("labels", labels)
    if not np.array_equal(given, np.rint(given)):
        raise ValueError("labels: must be whole numbers: 1 foreground, 0 background, -1 padding")
    if given.ndim == 1 and points.shape[1] == 1:
        given = given[:, None]
    if given.shape != points.shape[:2]:
        raise ValueError(
            f"labels: shape {np.shape(labels)} for points of shape {points.shape}; expected "
            f"{points.shape[:2]}"
        )
    return points, given.astype(np.int64)


def box_array(boxes: ArrayLike, *, sort_corners: bool) -> NDArray[np.float64]:
    """(P, 4) XYXY of (P, 4) or (4,).

    sort_corners : a box may name any two opposite corners
    """
    array = np.atleast_2d(numbers("boxes", boxes))
    if not sort_corners or array.shape[-1] != 4:
        return array
    corners = array[:, :2], array[:, 2:]
    return np.concatenate([np.minimum(*corners), np.maximum(*corners)], axis=1)


def hint_array(mask_hints: ArrayLike) -> NDArray[np.float32]:
    """A (P, h, w) float32 copy of the logits. Raises ValueError for other dtypes than floats."""
    hints = np.asarray(mask_hints)
    if hints.dtype.kind != "f":
        raise ValueError(f"mask_hints: expected float logits, got {hints.dtype}")
    # It is a copy, because other threads may write into the array while the GIL is free.
    return np.array(hints[None] if hints.ndim == 2 else hints, dtype=np.float32, order="C")
