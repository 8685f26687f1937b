"""`parallel_grid_segmentation`: grid segmentation in one call, for tools that ran points through a
thread pool around SAM 2."""

from __future__ import annotations

import numbers
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from segrid._image import ImageLike, to_image
from segrid._native import CancelToken, threads
from segrid._types import Progress
from segrid.embedding import Embedding
from segrid.results import Masks
from segrid.segmenter import Segmenter

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class GridOptions:
    """The options of `parallel_grid_segmentation` that decide which masks are found.

    Raises ValueError naming the option.
    """

    target_points: int = 256
    max_masks: int = 50
    min_area_frac: float = 0.001
    min_region_area: int | None = None
    nms_box_thresh: float = 0.7
    dup_mask_iou_thresh: float = 0.5
    max_workers: int = 4

    def __post_init__(self) -> None:
        for name in ("max_workers", "target_points", "max_masks"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        if self.min_region_area is not None:
            least = whole_number("min_region_area", self.min_region_area, least=0)
            object.__setattr__(self, "min_region_area", least)
        for name in ("min_area_frac", "nms_box_thresh", "dup_mask_iou_thresh"):
            share: Any = getattr(self, name)
            if not isinstance(share, numbers.Real) or not 0 <= float(share) <= 1:
                raise ValueError(f"{name}: must be a number from 0 to 1, got {share!r}")


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
    """Segments an image on a grid of about `target_points` points, cleans the masks, and drops
    small ones and duplicates.

    Parameters
    ----------
    sam_model : a Segmenter; the result of the drop-ins' registry or `build_sam2`; or a drop-in's
        predictor
    filepath : a path, or an image of any kind that `read_image` takes
    original_size : (width, height) of the results, in PIL's order. If it is not the image's size,
        the results are resized by nearest neighbour
    target_points : the approximate number of points: max(8, round(sqrt(target_points))) along each
        side, from 0 to width - 1 and from 0 to height - 1
    max_masks : the most masks that are returned: those with the highest predicted IoU
    min_area_frac : the least share of the image that a mask must cover
    min_region_area : parts and holes of fewer pixels (4-connected) are removed and filled before
        anything is measured; None: a quarter of the least area, at least 16 pixels; 0: off
    nms_box_thresh : the box IoU above which the worse of two masks is dropped
    dup_mask_iou_thresh : the mask IoU above which the worse of two masks is dropped
    max_workers : the most threads that are used, within the thread budget of the process
    batch_size : points per line of the report on standard error (masks kept so far, seconds, MB)

    Returns
    -------
    masks : list of (H, W) uint8 arrays of 0 and 1, views of the engine's memory (not copied)
    boxes : list of (x0, y0, x1, y1), floats, pixels, inclusive maximum
    areas : list of int, pixels

    Raises ValueError naming the argument, TypeError for another kind of sam_model, and the errors
    of reading the image. Source: the grid tool around SAM 2 that has a function of this name. It
    shuffles its points and stops at the first `max_masks`; here the best masks stay, whatever the
    order of the points.
    """
    model = _segmenter(sam_model)
    options = GridOptions(
        target_points,
        max_masks,
        min_area_frac,
        min_region_area,
        nms_box_thresh,
        dup_mask_iou_thresh,
        max_workers,
    )
    report = _report(whole_number("batch_size", batch_size))
    size = None if original_size is None else _size(original_size)
    image = to_image(filepath)
    height, width = image.array.shape[:2]
    found = grid_masks(model, image, (height, width), options, progress=report)
    if size is not None and size != (width, height):
        found = found.resized((size[1], size[0]))
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in found.boxes.tolist()]
    return list(found.array.view(np.uint8)), boxes, found.areas.tolist()


def grid_masks(
    segmenter: Segmenter,
    image: ImageLike | Embedding,
    size: tuple[int, int],
    options: GridOptions,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Masks:
    """The masks of `parallel_grid_segmentation`, as `Masks`.

    size : (H, W) of the image, in pixels
    progress, cancel : as for `Segmenter.everything`
    """
    height, width = size
    min_region_area = options.min_region_area
    if min_region_area is None:
        min_region_area = max(16, int(options.min_area_frac * width * height) // 4)
    return segmenter.with_threads(min(options.max_workers, threads())).everything(
        image,
        point_grids=[_grid(options.target_points, width, height)],
        box_nms_thresh=options.nms_box_thresh,
        min_mask_region_area=min_region_area,
        region_connectivity=4,
        min_area_frac=options.min_area_frac,
        mask_iou_thresh=options.dup_mask_iou_thresh,
        max_masks=options.max_masks,
        progress=progress,
        cancel=cancel,
    )


def _segmenter(model: Any) -> Segmenter:
    """Returns the Segmenter that is given, or the one that a drop-in's model or predictor holds."""
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


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Returns the value as a whole number. Raises ValueError naming it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name}: must be a whole number of at least {least}, got {value!r}")
    return number


def _size(original_size: Any) -> tuple[int, int]:
    """Returns the given (width, height) as whole numbers."""
    try:
        width, height = (whole_number("a side", pixels) for pixels in original_size)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "original_size: must be (width, height), two whole numbers of at least 1, got "
            f"{original_size!r}"
        ) from error
    return width, height


def _grid(target_points: int, width: int, height: int) -> np.ndarray:
    """Returns (N, 2) points as fractions of the image, from pixel 0 to width - 1 and to height -
    1."""
    side = max(8, round(target_points**0.5))
    x, y = (np.linspace(0, pixels - 1, side) / pixels for pixels in (width, height))
    return np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)


def _report(batch_size: int) -> Callable[[dict[str, Any]], None]:
    """Returns a function for `everything`'s progress that prints one line per batch of points on
    standard error."""
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
