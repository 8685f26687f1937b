"""The records that the originals' mask generators return."""

from __future__ import annotations

from typing import Any

from segrid.results import Masks

OUTPUT_MODES = ["binary_mask", "uncompressed_rle", "coco_rle"]


def records(masks: Masks, output_mode: str, as_float32: bool) -> list[dict[str, Any]]:
    """A dict per mask: segmentation, area, bbox (XYWH, the inclusive maximum minus the minimum), predicted_iou, point_coords, stability_score, crop_box.

    as_float32: sam2 keeps points in float32, segment_anything in float64."""
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
