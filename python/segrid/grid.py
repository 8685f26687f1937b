"""Grid segmentation in one call, for pipelines that ran points through a thread pool."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from segrid._image import ImageLike, to_image
from segrid._native import _core
from segrid.results import Masks
from segrid.segmenter import Segmenter


def parallel_grid_segmentation(sam_model: Segmenter, filepath: ImageLike, original_size: tuple[int, int] | None = None,
                               target_points: int = 256, max_masks: int = 50, max_workers: int = 4, batch_size: int = 32,
                               min_area_frac: float = 0.001, nms_box_thresh: float = 0.7, dup_mask_iou_thresh: float = 0.5,
                               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments an image on a grid of about `target_points` points, filters, removes duplicates.

    Parameters
    ----------
    sam_model : a Segmenter
    filepath : a path or an image array
    original_size : (H, W); the result is resized (nearest neighbour) when it differs from the image
    target_points : about this many points: side = round(sqrt(target_points))
    max_masks : at most this many masks, those with the highest predicted IoU
    max_workers : most threads used, inside the thread budget of the process
    batch_size : points between two lines of the report on standard error (kept so far, seconds, MB)
    min_area_frac : least share of the image that a mask covers
    nms_box_thresh : box IoU above which the lesser of two masks is dropped
    dup_mask_iou_thresh : mask IoU above which the lesser of two masks is dropped

    Returns
    -------
    masks (N, H, W) bool, boxes (N, 4) float32 XYXY, areas (N,) int64

    Raises ValueError naming the argument, TypeError for another sam_model; and what reading the image raises.
    Source: the grid pipelines that people write around SAM 2 (points in a thread pool, area filter, box NMS, duplicates by mask IoU).
    """
    if not isinstance(sam_model, Segmenter):
        raise TypeError(f"sam_model: expected a segrid.Segmenter, got {type(sam_model).__name__}")
    for name, value in (("max_workers", max_workers), ("batch_size", batch_size), ("max_masks", max_masks)):
        if value < 1:
            raise ValueError(f"{name}: must be at least 1, got {value}")
    image = to_image(filepath)
    reported = 0

    def report(state: dict[str, Any]) -> None:
        nonlocal reported
        batches = state["done"] // batch_size
        if state["done"] == state["total"]:
            batches = -(-state["total"] // batch_size)
        for batch in range(reported + 1, batches + 1):
            sys.stderr.write(f"batch {batch}: kept {state['kept']}, {state['elapsed']:.2f} s, {state['memory_mb']:.0f} MB\n")
        reported = max(reported, batches)

    capped = sam_model.with_threads(min(max_workers, _core.threads()))
    masks: Masks = capped.everything(
        image, target_points=target_points, box_nms_thresh=nms_box_thresh, min_area_frac=min_area_frac,
        mask_iou_thresh=dup_mask_iou_thresh, max_masks=max_masks, progress=report,
    )
    if original_size is not None and tuple(original_size) != masks.size:
        masks = masks.resized(original_size)
    return masks.array, masks.boxes, masks.areas
