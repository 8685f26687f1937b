"""`parallel_grid_segmentation`: grid segmentation in one call, for tools that ran points through a
thread pool around SAM 2."""

from __future__ import annotations

import numbers
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from segrid._image import ImageLike, to_image
from segrid._native import threads
from segrid.segmenter import Segmenter

Box = tuple[float, float, float, float]


def parallel_grid_segmentation(
    sam_model: Any,
    filepath: ImageLike,
    original_size: tuple[int, int] | None = None,
    target_points: int = 256,
    max_masks: int = 50,
    min_area_frac: float = 0.001,
    min_region_area: int | None = None,
    nms_box_thresh: float = 0.7,
    dup_mask_iou_thresh: float = 0.5,
    max_workers: int = 4,
    batch_size: int = 32,
) -> tuple[list[np.ndarray], list[Box], list[int]]:
    """Segments an image on a grid of about `target_points` points, cleans the masks, drops small
    ones and duplicates.

    Parameters
    ----------
    sam_model : a Segmenter; what the drop-ins' registry and `build_sam2` return; a drop-in's
        predictor
    filepath : a path, or an image as every call takes it
    original_size : (width, height) of the results, PIL's order; they are resized (nearest
        neighbour) when it is not the image's
    target_points : about this many: max(8, round(sqrt(target_points))) along each side, from 0 to
        width - 1 and to height - 1
    max_masks : at most this many masks, those with the highest predicted IoU
    min_area_frac : least share of the image that a mask covers
    min_region_area : parts and holes of fewer pixels (4-connected) are removed and filled before
        anything is measured; None: a quarter of the least area, at least 16 pixels; 0: off
    nms_box_thresh : box IoU above which the lesser of two masks is dropped
    dup_mask_iou_thresh : mask IoU above which the lesser of two masks is dropped
    max_workers : most threads used, inside the thread budget of the process
    batch_size : points between two lines of the report on standard error (kept so far, seconds, MB)

    Returns
    -------
    masks : list of (H, W) uint8 arrays of 0 and 1, views of the engine's memory (nothing is copied)
    boxes : list of (x0, y0, x1, y1), floats, pixels, inclusive maximum
    areas : list of int, pixels

    Raises ValueError naming the argument, TypeError for another sam_model; and what reading the
    image raises. Source: the grid tool around SAM 2 whose function has this name. It shuffles its
    points and stops at the first `max_masks`; here the best ones stay, whatever the order.
    """
    model = _segmenter(sam_model)
    max_workers, batch_size = _count("max_workers", max_workers), _count("batch_size", batch_size)
    target_points, max_masks = (
        _count("target_points", target_points),
        _count("max_masks", max_masks),
    )
    if min_region_area is not None:
        min_region_area = _count("min_region_area", min_region_area, least=0)
    for name, share in (
        ("min_area_frac", min_area_frac),
        ("nms_box_thresh", nms_box_thresh),
        ("dup_mask_iou_thresh", dup_mask_iou_thresh),
    ):
        if not isinstance(share, numbers.Real) or not 0 <= share <= 1:
            raise ValueError(f"{name}: must be a number from 0 to 1, got {share!r}")
    size = None if original_size is None else _size(original_size)
    image = to_image(filepath)
    height, width = image.array.shape[:2]
    if min_region_area is None:
        min_region_area = max(16, int(min_area_frac * width * height) // 4)
    found = model.with_threads(min(max_workers, threads())).everything(
        image,
        point_grids=[_grid(target_points, width, height)],
        box_nms_thresh=nms_box_thresh,
        min_mask_region_area=min_region_area,
        region_connectivity=4,
        min_area_frac=min_area_frac,
        mask_iou_thresh=dup_mask_iou_thresh,
        max_masks=max_masks,
        progress=_report(batch_size),
    )
    if size is not None and size != (width, height):
        found = found.resized((size[1], size[0]))
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in found.boxes.tolist()]
    return list(found.array.view(np.uint8)), boxes, found.areas.tolist()


def _segmenter(model: Any) -> Segmenter:
    """The Segmenter that is given, or that a drop-in's model or its predictor holds."""
    holders = (
        model,
        getattr(model, "segmenter", None),
        getattr(getattr(model, "model", None), "segmenter", None),
    )
    for holder in holders:
        if isinstance(holder, Segmenter):
            return holder
    raise TypeError(
        "sam_model: expected a segrid.Segmenter, or a model or predictor of "
        f"segrid.compat, got {type(model).__name__}"
    )


def _count(name: str, value: Any, least: int = 1) -> int:
    """The whole number that is given. Raises ValueError naming it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name}: must be a whole number of at least {least}, got {value!r}")
    return number


def _size(original_size: Any) -> tuple[int, int]:
    """The (width, height) that are given."""
    try:
        width, height = (_count("a side", pixels) for pixels in original_size)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "original_size: must be (width, height), two whole numbers of at least 1, got "
            f"{original_size!r}"
        ) from error
    return width, height


def _grid(target_points: int, width: int, height: int) -> np.ndarray:
    """(N, 2) points as fractions of the image, from pixel 0 to width - 1 and to height - 1."""
    side = max(8, round(target_points**0.5))
    x, y = (np.linspace(0, pixels - 1, side) / pixels for pixels in (width, height))
    return np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)


def _report(batch_size: int) -> Callable[[dict[str, Any]], None]:
    """A function for `everything`'s progress that prints a line on standard error per batch of
    points.
    """
    reported = 0

    def tell(state: dict[str, Any]) -> None:
        nonlocal reported
        batches = state["done"] // batch_size
        if state["done"] == state["total"]:
            batches = -(-state["total"] // batch_size)
        for batch in range(reported + 1, batches + 1):
            sys.stderr.write(
                f"batch {batch}: kept {state['kept']}, {state['elapsed']:.2f} s, "
                f"{state['memory_mb']:.0f} MB\n"
            )
        reported = max(reported, batches)

    return tell
