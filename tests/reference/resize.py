"""Bilinear resizing as torch.nn.functional.interpolate does it (align_corners=False, float32), and SAM's two steps of it."""

import numpy as np


def bilinear_matrix(inputs: int, outputs: int) -> np.ndarray:
    """(outputs, inputs) float64 weights; places are computed in float32, as torch does."""
    matrix = np.zeros((outputs, inputs))
    scale = np.float32(inputs) / np.float32(outputs)
    for i in range(outputs):
        place = max(np.float32(0), scale * (np.float32(i) + np.float32(0.5)) - np.float32(0.5))
        low = min(int(place), inputs - 1)
        high = min(low + 1, inputs - 1)
        fraction = float(np.float32(place - np.float32(low)))
        matrix[i, low] += 1 - fraction
        matrix[i, high] += fraction
    return matrix


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return bilinear_matrix(values.shape[0], size[0]) @ values.astype(np.float64) @ bilinear_matrix(values.shape[1], size[1]).T


def sam_upsample(low_res: np.ndarray, side: int, resized: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """segment-anything's Sam.postprocess_masks for one mask."""
    return bilinear(bilinear(low_res, (side, side))[: resized[0], : resized[1]], size)
