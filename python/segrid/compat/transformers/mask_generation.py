"""pipeline("mask-generation"): a grid of points over an image and its crops.

One NMS goes over the masks of all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid._image import to_image
from segrid.compat.tensors import tensor_of
from segrid.compat.transformers.base import Pipeline
from segrid.compat.transformers.images import load
from segrid.results import Masks
from segrid.segmenter import Segmenter


class MaskGenerationPipeline(Pipeline):
    """Works as transformers.MaskGenerationPipeline does.

    `points_per_batch`, `batch_size` and `num_workers` are accepted and have no effect.

    There is one difference: max_hole_area and max_sprinkle_area fill holes and remove specks (in
    pixels of the low-res masks). transformers 5 accepts and ignores them for SAM 2, and fails with
    them for SAM.

    One fault is kept: for SAM 2, transformers places the grid as if the image had been padded and
    not squashed. On an image that is not square, the points therefore cover only the upper (or
    left) part. Results are equal to the original's; `Segmenter.everything` does not have this
    fault."""

    task = "mask-generation"
    kind = Segmenter

    @property
    def segmenter(self) -> Segmenter:
        """segrid's model."""
        return self._own.segmenter

    def __call__(self, inputs: Any = None, *args: Any, image: Any = None, **options: Any) -> Any:
        """Generates the masks of one or more images.

        inputs : a path, URL, base64 text, PIL image or (H, W, 3) uint8 RGB array; or a list of
            them; or a dataset of them (an object with items by number, or one that can be iterated)
            or an iterator, whose results are computed on demand, one by one

        The options are points_per_crop=32, crops_n_layers=0, crop_overlap_ratio=512/1500,
        crop_n_points_downscale_factor=1, pred_iou_thresh=0.88, stability_score_thresh=0.95,
        stability_score_offset=1, mask_threshold=0, crops_nms_thresh=0.7, max_hole_area,
        max_sprinkle_area, output_rle_mask=False, output_bboxes_mask=False, and timeout (in seconds,
        for URLs).

        Returns {"masks": list of (H, W) bool tensors on the engine's memory, "scores": (N,) float32
        tensor}, best score first, and on request "rle_mask" (list of uncompressed RLE) and
        "bounding_boxes" ((N, 4) int64 tensor, XYXY, inclusive; transformers' becomes float32 if a
        batch of points gives no mask). Returns a list of them for a list. Raises ValueError naming
        the option, and the errors of `Segmenter.everything`."""
        options = self._merged(options)
        return self._answer(
            image if inputs is None else inputs, lambda item: self._one(item, **options)
        )

    def _one(
        self,
        image: Any,
        points_per_batch: int | None = 64,
        points_per_crop: int = 32,
        crops_n_layers: int = 0,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        timeout: float | None = None,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1,
        mask_threshold: float = 0,
        max_hole_area: float | None = None,
        max_sprinkle_area: float | None = None,
        crops_nms_thresh: float = 0.7,
        output_rle_mask: bool = False,
        output_bboxes_mask: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        if points_per_batch is not None and points_per_batch <= 0:
            raise ValueError(
                "Cannot have points_per_batch<=0. Must be >=1 to returned batched outputs. To "
                "return all points at once, set points_per_batch to None"
            )
        pixels = to_image(load(image, timeout))
        height, width = pixels.shape[:2]
        # As in transformers, values of 0 and below turn the filter off.
        iou = pred_iou_thresh if pred_iou_thresh > 0 else 0.0
        stability = 0.0
        # transformers keeps scores above the threshold; segment-anything also keeps equal ones.
        if stability_score_thresh > 0:
            stability = float(np.nextafter(np.float32(stability_score_thresh), np.float32(np.inf)))
        beyond = max(iou, stability) > 1 or stability_score_offset < 0
        found = self.segmenter.everything(
            pixels,
            point_grids=[
                self._grid(
                    int(points_per_crop / crop_n_points_downscale_factor**layer), height, width
                )
                for layer in range(crops_n_layers + 1)
            ],
            pred_iou_thresh=iou,
            stability_score_thresh=stability,
            any_thresholds=beyond,
            stability_score_offset=stability_score_offset,
            mask_threshold=mask_threshold,
            crop_n_layers=crops_n_layers,
            crop_overlap_ratio=crop_overlap_ratio,
            box_nms_thresh=1.0 if crops_n_layers else min(crops_nms_thresh, 1.0),
            crop_nms_thresh=1.0,
            containment_thresh=1.0,
            crop_containment_thresh=1.0,
            max_hole_area=int(max_hole_area or 0),
            max_sprinkle_area=int(max_sprinkle_area or 0),
        )
        if crops_n_layers:
            found = _one_nms(found, crops_nms_thresh)
        out = {"masks": [tensor_of(m.array[0]) for m in found], "scores": tensor_of(found.scores)}
        if output_rle_mask:
            out["rle_mask"] = found.uncompressed_rle
        if output_bboxes_mask:
            out["bounding_boxes"] = tensor_of(found.boxes.astype(np.int64))
        return out

    def _grid(self, side: int, height: int, width: int) -> np.ndarray:
        if side < 1:
            raise ValueError(
                "points_per_crop: at least one point a side is needed in every layer of crops, "
                f"got {side}; use a smaller crop_n_points_downscale_factor"
            )
        at = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
        grid = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
        if self.segmenter.family == "sam2":
            square = self.segmenter.side
            grid *= [
                int(length * square / max(height, width) + 0.5) / square
                for length in (width, height)
            ]
        return grid


def _one_nms(found: Masks, threshold: float) -> Masks:
    """Applies a greedy NMS by score to the masks of all crops, as torchvision does: stable, with
    float32 boxes."""
    # Crop by crop, in the order in which transformers generates them.
    found = found[np.argsort(found.prompt, kind="stable")]
    order = np.argsort(-found.scores, kind="stable")
    x0, y0, x1, y1 = found.boxes[order].T
    areas = (x1 - x0) * (y1 - y0)
    dropped, kept = np.zeros(len(order), bool), []
    for i in range(len(order)):
        if dropped[i]:
            continue
        kept.append(order[i])
        shared = np.maximum(0, np.minimum(x1[i], x1) - np.maximum(x0[i], x0)) * np.maximum(
            0, np.minimum(y1[i], y1) - np.maximum(y0[i], y0)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            dropped |= shared / (areas[i] + areas - shared) > threshold
    return found[np.array(kept, dtype=np.int64)]
