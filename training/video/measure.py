"""How well a track agrees with the truth: J, the region's overlap, and F, the boundary's, as DAVIS
defines them (Perazzi et al., CVPR 2016)."""

import math

import cv2
import numpy as np


def region(found, truth):
    """J of two bool masks (h, w): intersection over union; 1 where both are empty."""
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def _boundary(mask):
    """The pixels that differ from their neighbour to the right, below, or both, (h, w) uint8."""
    edge = np.zeros(mask.shape, np.uint8)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def boundary(found, truth, tolerance=0.008):
    """F of two bool masks (h, w): the harmonic mean of the parts of each boundary that lie within
    `tolerance` diagonals of the other; 1 where both are empty."""
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (yy**2 + xx**2 <= radius**2).astype(np.uint8)
    edges = [_boundary(found), _boundary(truth)]
    lengths = [int(edge.sum()) for edge in edges]
    if not any(lengths):
        return float(found.any() == truth.any())
    if not all(lengths):
        return 0.0
    near = [cv2.dilate(edge, disk) for edge in edges]
    precision = (edges[0] & near[1]).sum() / lengths[0]
    recall = (edges[1] & near[0]).sum() / lengths[1]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def scores(found, truth):
    """{"J", "F", "J&F"}: means over frames 1, 2 ... of masks (T, h, w); frame 0 has the prompt."""
    pairs = list(zip(found[1:], truth[1:], strict=True))
    j = float(np.mean([region(*pair) for pair in pairs]))
    f = float(np.mean([boundary(*pair) for pair in pairs]))
    return {"J": round(j, 4), "F": round(f, 4), "J&F": round((j + f) / 2, 4)}
