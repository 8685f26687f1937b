"""The small functions of the originals' `utils.amg` that both libraries have and programs call:
grids, crops, runs, boxes, regions. Each returns what the original returns; tensors stay on their
device.

Source: segment_anything.utils.amg and sam2.utils.amg, with their names, arguments and results."""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterator
from copy import deepcopy
from typing import Any

import numpy as np


class MaskData:
    """Columns (lists, arrays or tensors) with one row per mask, filtered and joined together."""

    def __init__(self, **kwargs: Any) -> None:
        self._stats: dict[str, Any] = {}
        for key, column in kwargs.items():
            self[key] = column

    def __setitem__(self, key: str, item: Any) -> None:
        assert isinstance(item, (list, np.ndarray)) or _is_tensor(item), (
            "MaskData only supports list, numpy arrays, and torch tensors."
        )
        self._stats[key] = item

    def __delitem__(self, key: str) -> None:
        del self._stats[key]

    def __getitem__(self, key: str) -> Any:
        return self._stats[key]

    def items(self) -> ItemsView[str, Any]:
        """The columns by name."""
        return self._stats.items()

    def filter(self, keep: Any) -> None:
        """Keeps the rows that `keep` selects, in its order. `keep` is a tensor of booleans or of
        indices."""
        rows = keep.detach().cpu().numpy()
        picked = np.flatnonzero(rows) if rows.dtype == bool else rows
        for key, column in self._stats.items():
            if isinstance(column, list):
                self._stats[key] = [column[i] for i in picked]
            elif _is_tensor(column):
                self._stats[key] = column[keep.to(column.device)]
            elif column is not None:
                self._stats[key] = column[rows]

    def cat(self, new_stats: MaskData) -> None:
        """Appends the rows of another MaskData. Columns that do not exist here yet are copied."""
        for key, column in new_stats.items():
            mine = self._stats.get(key)
            if mine is None:
                self._stats[key] = deepcopy(column)
            elif isinstance(column, list):
                self._stats[key] = mine + deepcopy(column)
            elif _is_tensor(column):
                import torch

                self._stats[key] = torch.cat([mine, column])
            else:
                self._stats[key] = np.concatenate([mine, column])

    def to_numpy(self) -> None:
        """Turns tensors into arrays."""
        for key, column in self._stats.items():
            if _is_tensor(column):
                self._stats[key] = column.detach().cpu().numpy()


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "device")


# ---- grids and crops


def build_point_grid(n_per_side: int) -> np.ndarray:
    """Returns (n^2, 2) points x, y in 0..1, row by row: the centres of n x n equal cells."""
    half = 1 / (2 * n_per_side)
    centres = np.linspace(half, 1 - half, n_per_side)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def build_all_layer_point_grids(
    n_per_side: int, n_layers: int, scale_per_layer: int
) -> list[np.ndarray]:
    """Returns the grid of the image and one grid for each layer of crops. Each layer has
    `scale_per_layer` times fewer points along a side than the layer before."""
    sides = [int(n_per_side / scale_per_layer**layer) for layer in range(n_layers + 1)]
    return [build_point_grid(side) for side in sides]


def generate_crop_boxes(
    im_size: tuple[int, ...], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Returns (boxes, layers): the image of im_size (H, W), then for each layer i its 2^i x 2^i
    overlapping crops, column by column. Boxes are XYXY with exclusive ends; layers holds the layer
    of each box."""
    height, width = im_size
    boxes, layers = [[0, 0, width, height]], [0]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n))
        wide, high = (math.ceil((overlap * (n - 1) + side) / n) for side in (width, height))
        for column in range(n):
            for row in range(n):
                x, y = column * (wide - overlap), row * (high - overlap)
                boxes.append([x, y, min(x + wide, width), min(y + high, height)])
                layers.append(layer)
    return boxes, layers


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Yields consecutive slices of all arguments, each `batch_size` long."""
    assert len(args) > 0 and all(len(a) == len(args[0]) for a in args), (
        "Batched iteration must have inputs of all the same size."
    )
    for start in range(0, len(args[0]), batch_size):
        yield [a[start : start + batch_size] for a in args]


# ---- from a crop back to the image


def uncrop_boxes_xyxy(boxes: Any, crop_box: list[int]) -> Any:
    """Moves (N, 4) or (N, C, 4) boxes from a crop to the image."""
    return boxes + _tensor(list(crop_box[:2]) * 2, boxes)


def uncrop_points(points: Any, crop_box: list[int]) -> Any:
    """Moves (N, 2) or (N, C, 2) points from a crop to the image."""
    return points + _tensor(list(crop_box[:2]), points)


def uncrop_masks(masks: Any, crop_box: list[int], orig_h: int, orig_w: int) -> Any:
    """Moves (N, h, w) masks from a crop to the image; outside the crop they are 0."""
    x0, y0, x1, y1 = crop_box
    if (x0, y0, x1, y1) == (0, 0, orig_w, orig_h):
        return masks
    out = masks.new_zeros((*masks.shape[:-2], orig_h, orig_w))
    out[..., y0:y1, x0:x1] = masks
    return out


def is_box_near_crop_edge(
    boxes: Any, crop_box: list[int], orig_box: list[int], atol: float = 20.0
) -> Any:
    """Returns (N,) bool: whether a side of a crop's box (boxes (N, 4)) is within `atol` pixels of
    the crop's side, and not within `atol` of the image's side."""
    sides = uncrop_boxes_xyxy(boxes, crop_box).float()
    from_crop, from_image = (
        (sides - _tensor(edges, boxes)).abs() for edges in (crop_box, orig_box)
    )
    return ((from_crop <= atol) & ~(from_image <= atol)).any(dim=1)


def _tensor(numbers: Any, beside: Any) -> Any:
    import torch

    return torch.as_tensor(numbers, device=beside.device)


# ---- runs


def mask_to_rle_pytorch(tensor: Any) -> list[dict[str, Any]]:
    """Encodes (B, H, W) bool masks as COCO's uncompressed RLE: pixel counts down the columns, zeros
    first."""
    height, width = tensor.shape[1:]
    out = []
    for mask in tensor.detach().cpu().numpy():
        pixels = mask.T.ravel()
        turns = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        counts = np.diff(turns, prepend=0, append=height * width).tolist()
        out.append({"size": [height, width], "counts": [0, *counts] if pixels[0] else counts})
    return out


def rle_to_mask(rle: dict[str, Any]) -> np.ndarray:
    """Decodes an uncompressed RLE to (H, W) bool."""
    height, width = rle["size"]
    values = np.arange(len(rle["counts"])) % 2 == 1
    return np.repeat(values, rle["counts"]).reshape(width, height).T


def area_from_rle(rle: dict[str, Any]) -> int:
    """Returns the number of pixels in an uncompressed RLE's mask."""
    return sum(rle["counts"][1::2])


def coco_encode_rle(uncompressed_rle: dict[str, Any]) -> dict[str, Any]:
    """Compresses an RLE; its counts become text. Needs pycocotools."""
    from pycocotools import mask as coco  # type: ignore[import-untyped]

    packed = coco.frPyObjects(uncompressed_rle, *uncompressed_rle["size"])
    return {**packed, "counts": packed["counts"].decode("utf-8")}


# ---- masks


def calculate_stability_score(masks: Any, mask_threshold: float, threshold_offset: float) -> Any:
    """Returns (...,) float32 for logits (..., H, W): the number of pixels above threshold + offset,
    divided by the number above threshold - offset."""
    import torch

    inner, outer = (
        (masks > mask_threshold + by).sum((-2, -1), dtype=torch.int32)
        for by in (threshold_offset, -threshold_offset)
    )
    return inner / outer


def batched_mask_to_box(masks: Any) -> Any:
    """Returns (..., 4) XYXY boxes of masks (..., H, W) bool, with inclusive maximum; zeros for
    empty masks."""
    import torch

    if masks.numel() == 0:
        return torch.zeros(*masks.shape[:-2], 4, device=masks.device)
    ends = []
    for along in (masks.any(dim=-2), masks.any(dim=-1)):  # columns that hold something, then rows
        length = along.shape[-1]
        first = along.int().argmax(dim=-1)
        last = length - 1 - along.flip(-1).int().argmax(dim=-1)
        ends += [first, last]
    x0, x1, y0, y1 = ends
    boxes = torch.stack([x0, y0, x1, y1], dim=-1)
    return boxes * masks.flatten(-2).any(dim=-1)[..., None]


def box_xyxy_to_xywh(box_xyxy: Any) -> Any:
    """Converts one (4,) XYXY box, or four such rows, to XYWH by subtracting the starts from the
    ends."""
    out = deepcopy(box_xyxy)
    out[2] = out[2] - out[0]
    out[3] = out[3] - out[1]
    return out


def remove_small_regions(
    mask: np.ndarray, area_thresh: float, mode: str
) -> tuple[np.ndarray, bool]:
    """Fills holes (mode "holes") or removes parts (mode "islands") of fewer than `area_thresh`
    pixels, 8-connected. If all parts are small, the largest stays. Returns the mask and whether it
    changed. Needs OpenCV (the package cv2)."""
    import cv2

    assert mode in ["holes", "islands"]
    looked_at = np.logical_not(mask) if mode == "holes" else mask
    _, regions, stats, _ = cv2.connectedComponentsWithStats(
        np.asarray(looked_at, np.uint8), connectivity=8
    )
    areas = stats[1:, cv2.CC_STAT_AREA]
    small = areas < area_thresh
    if not small.any():
        return mask, False
    # The mask is the background of its holes, together with the small holes.
    if mode == "holes":
        kept = np.concatenate([[True], small])
    else:
        if small.all():
            small[np.argmax(areas)] = False
        kept = np.concatenate([[False], ~small])
    return kept[regions], True
