"""What the originals' mask generators have in common: their checks, and the records they return."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.results import Masks

OUTPUT_MODES = ["binary_mask", "uncompressed_rle", "coco_rle"]


class MaskGenerator:
    """Everything mode behind segment_anything's arguments. Subclasses say how their predictor is made and which further options they have."""

    predictor: Any
    as_float32 = False  # sam2 keeps points in float32, segment_anything in float64

    def _configure(self, points_per_batch: int, output_mode: str, **options: Any) -> None:
        assert (options["points_per_side"] is None) != (options["point_grids"] is None), "Exactly one of points_per_side or point_grid must be provided."
        assert output_mode in OUTPUT_MODES, f"Unknown output_mode {output_mode}."
        self.points_per_batch = points_per_batch
        self.output_mode = output_mode
        self._options = options | dict(containment_thresh=1.0, crop_containment_thresh=1.0)

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """image : (H, W, 3) uint8 RGB. A list of records in the original's order: segmentation, area, bbox XYWH, predicted_iou, point_coords,
        stability_score, crop_box XYWH."""
        return records(self.predictor.model.segmenter.everything(image, **self._options), self.output_mode, self.as_float32)


def records(masks: Masks, output_mode: str, as_float32: bool) -> list[dict[str, Any]]:
    """A dict per mask: segmentation, area, bbox (XYWH, the inclusive maximum minus the minimum), predicted_iou, point_coords, stability_score, crop_box."""
    if output_mode == "binary_mask":
        segmentations: Any = (m.array[0] for m in masks)
    else:
        segmentations = iter([r | {"counts": r["counts"].decode()} for r in masks.rle] if output_mode == "coco_rle" else masks.uncompressed_rle)
    points = masks.points.astype("float32") if as_float32 else masks.points
    out = []
    for i, segmentation in enumerate(segmentations):
        x0, y0, x1, y1 = (int(v) for v in masks.boxes[i])
        cx0, cy0, cx1, cy1 = (int(v) for v in masks.crop_boxes[i])
        out.append({
            "segmentation": segmentation, "area": int(masks.areas[i]), "bbox": [x0, y0, x1 - x0, y1 - y0], "predicted_iou": float(masks.scores[i]),
            "point_coords": [points[i].tolist()], "stability_score": float(masks.stability[i]), "crop_box": [cx0, cy0, cx1 - cx0, cy1 - cy0],
        })
    return out
