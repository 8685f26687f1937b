"""The functions of sam2.utils.amg, which are segment_anything's except for `MaskData.to_numpy`."""

from __future__ import annotations

from segrid.compat import amg
from segrid.compat.amg import (
    area_from_rle,
    batch_iterator,
    batched_mask_to_box,
    box_xyxy_to_xywh,
    build_all_layer_point_grids,
    build_point_grid,
    calculate_stability_score,
    coco_encode_rle,
    generate_crop_boxes,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    remove_small_regions,
    rle_to_mask,
    uncrop_boxes_xyxy,
    uncrop_masks,
    uncrop_points,
)

__all__ = [
    "MaskData",
    "area_from_rle",
    "batch_iterator",
    "batched_mask_to_box",
    "box_xyxy_to_xywh",
    "build_all_layer_point_grids",
    "build_point_grid",
    "calculate_stability_score",
    "coco_encode_rle",
    "generate_crop_boxes",
    "is_box_near_crop_edge",
    "mask_to_rle_pytorch",
    "remove_small_regions",
    "rle_to_mask",
    "uncrop_boxes_xyxy",
    "uncrop_masks",
    "uncrop_points",
]


class MaskData(amg.MaskData):
    """Columns (lists, arrays or tensors, with one row per mask) that are filtered and joined
    together."""

    def to_numpy(self) -> None:
        """Turns tensors of any type into arrays of floats."""
        for key, column in self._stats.items():
            if hasattr(column, "detach"):
                self._stats[key] = column.float()
        super().to_numpy()
