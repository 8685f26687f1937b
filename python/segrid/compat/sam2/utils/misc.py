"""The functions of sam2.utils.misc that programs call."""

from __future__ import annotations

from typing import Any

import numpy as np

from segrid.compat.missing_names import not_offered
from segrid.compat.sam2.video_frames import load_video_frames


def get_sdpa_settings() -> tuple[bool, bool, bool]:
    """Returns whether the GPU is old (or there is none), whether it has flash attention, and
    whether attention in plain products is needed. It serves programs that ask; segrid has its own
    attention."""
    import torch

    if not torch.cuda.is_available():
        return True, False, True
    major = torch.cuda.get_device_properties(0).major
    return major < 7, major >= 8, major < 8


def get_connected_components(mask: Any) -> tuple[Any, Any]:
    """Labels the components of a mask, an (N, 1, H, W) tensor whose foreground is not 0. Returns
    two int32 tensors of that shape: the number of each pixel's component (8-connected, 0 for the
    background), and its area.

    sam2 needs its CUDA extension for this; segrid does it on the CPU."""
    import torch

    found = [_components(one) for one in mask[:, 0].detach().cpu().numpy() != 0]
    shape = (len(found), 1, *mask.shape[2:])
    labels, areas = (np.array([f[i] for f in found], np.int32).reshape(shape) for i in (0, 1))
    return torch.from_numpy(labels).to(mask.device), torch.from_numpy(areas).to(mask.device)


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (labels, areas) of an (H, W) bool mask: labels the runs of its rows and joins those
    that touch."""
    turns = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(turns == 1)
    ends = np.nonzero(turns == -1)[1]
    root = list(range(len(rows)))

    def find(run: int) -> int:
        while root[run] != run:
            root[run] = run = root[root[run]]
        return run

    above = 0  # the first run of the previous row that may still touch
    for run, row in enumerate(rows):
        while rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] < starts[run]):
            above += 1
        other = above
        while rows[other] == row - 1 and starts[other] <= ends[run]:
            root[find(other)] = find(run)
            other += 1
    roots = np.array([find(run) for run in range(len(rows))], np.int64)
    numbers = np.unique(roots, return_inverse=True)[1] + 1 if len(roots) else roots
    labels, areas = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    sums = np.bincount(numbers, ends - starts)
    for run, number in enumerate(numbers):
        place = rows[run], slice(starts[run], ends[run])
        labels[place], areas[place] = number, sums[number]
    return labels, areas


def mask_to_box(masks: Any) -> Any:
    """Returns (B, 1, 4) int32 XYXY boxes of masks (B, 1, H, W) bool, with inclusive maximum; (W, H,
    -1, -1) for empty masks."""
    import torch

    ends: list[Any] = []
    # Columns that are not empty, then rows.
    for along in (masks.any(dim=-2), masks.any(dim=-1)):
        at = torch.arange(along.shape[-1], dtype=torch.int32, device=masks.device)
        ends.append(
            (torch.where(along, at, along.shape[-1]).amin(-1), torch.where(along, at, -1).amax(-1))
        )
    (x0, x1), (y0, y1) = ends
    return torch.stack([x0, y0, x1, y1], dim=-1)


def fill_holes_in_mask_scores(mask: Any, max_area: float) -> Any:
    """Returns the (N, 1, H, W) logits with 0.1 in every hole of at most `max_area` pixels. Holes
    are 8-connected regions of values <= 0."""
    import torch

    assert max_area > 0, "max_area must be positive"
    labels, areas = get_connected_components(mask <= 0)
    return torch.where((labels > 0) & (areas <= max_area), 0.1, mask)


def concat_points(
    old_point_inputs: dict[str, Any] | None, new_points: Any, new_labels: Any
) -> dict[str, Any]:
    """Returns {"point_coords" (B, K, 2), "point_labels" (B, K)} with the new points after the old
    ones."""
    import torch

    if old_point_inputs is None:
        return {"point_coords": new_points, "point_labels": new_labels}
    new = {"point_coords": new_points, "point_labels": new_labels}
    return {name: torch.cat([old_point_inputs[name], added], dim=1) for name, added in new.items()}


load_video_frames_from_jpg_images = load_video_frames_from_video_file = load_video_frames

__getattr__ = not_offered(
    __name__,
    "call load_video_frames, or give init_state a list of images; frames are read when needed",
    "AsyncVideoFrameLoader",
    "_load_img_as_tensor",
)
