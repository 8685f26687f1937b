"""Small regions by a flood fill; and segment-anything's whole step on a set of masks."""

import numpy as np

from .masks import box_nms, inclusive_box


def components(mask: np.ndarray) -> np.ndarray:
    """8-connected components, numbered from 1 in raster order."""
    labels = np.zeros(mask.shape, int)
    found = 0
    for y, x in np.argwhere(mask):
        if labels[y, x]:
            continue
        found += 1
        stack = [(y, x)]
        labels[y, x] = found
        while stack:
            r, c = stack.pop()
            for rr in range(max(r - 1, 0), min(r + 2, mask.shape[0])):
                for cc in range(max(c - 1, 0), min(c + 2, mask.shape[1])):
                    if mask[rr, cc] and not labels[rr, cc]:
                        labels[rr, cc] = found
                        stack.append((rr, cc))
    return labels


def remove_small_regions(mask: np.ndarray, min_area: int, holes: bool) -> tuple[np.ndarray, bool]:
    labels = components(~mask if holes else mask)
    sizes = np.bincount(labels.ravel())[1:]
    small = np.flatnonzero(sizes < min_area) + 1
    if len(small) == 0:
        return mask, False
    if holes:
        return mask | np.isin(labels, small), True
    large = np.flatnonzero(sizes >= min_area) + 1
    return np.isin(labels, large if len(large) else [int(np.argmax(sizes)) + 1]), True


def postprocess(
    masks: np.ndarray, min_area: int, nms_threshold: float
) -> tuple[list[int], np.ndarray]:
    """The indices of the kept masks in their order, and all masks after cleaning."""
    cleaned, scores = [], []
    for mask in masks:
        mask, filled = remove_small_regions(mask, min_area, True)
        mask, removed = remove_small_regions(mask, min_area, False)
        cleaned.append(mask)
        scores.append(float(not filled and not removed))
    boxes = np.array([inclusive_box(m) for m in cleaned], np.float32)
    return box_nms(boxes, np.array(scores), nms_threshold), np.array(cleaned)
