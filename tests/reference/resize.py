"""Bilinear resizing as in torch.nn.functional.interpolate (align_corners=False, float32), SAM's two
steps, and the blur of OWLv2's torchvision processor."""

import numpy as np


def bilinear_matrix(inputs: int, outputs: int) -> np.ndarray:
    """(outputs, inputs) float64 weights; positions are computed in float32, as in torch."""
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
    return (
        bilinear_matrix(values.shape[0], size[0])
        @ values.astype(np.float64)
        @ bilinear_matrix(values.shape[1], size[1]).T
    )


def sam_upsample(
    low_res: np.ndarray, side: int, resized: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """segment-anything's Sam.postprocess_masks for one mask."""
    return bilinear(bilinear(low_res, (side, side))[: resized[0], : resized[1]], size)


def gaussian_matrix(n: int, sigma: float) -> np.ndarray:
    """(n, n) weights of torchvision's gaussian_blur with a kernel of 2 ceil(3 sigma) + 1 and
    reflected edges."""
    if sigma == 0:
        return np.eye(n)
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    matrix = np.zeros((n, n))
    for i in range(n):
        for offset, weight in zip(range(-reach, reach + 1), weights / weights.sum(), strict=True):
            j = abs(i + offset)
            matrix[i, j if j < n else 2 * (n - 1) - j] += weight
    return matrix


def owlv2_torchvision(rgb: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) in 0..255: the image padded to a square, blurred and resized like
    transformers' torchvision processor for OWLv2."""
    square = max(rgb.shape[:2])
    padded = np.zeros((square, square, 3))
    padded[: rgb.shape[0], : rgb.shape[1]] = rgb
    across = bilinear_matrix(square, side) @ gaussian_matrix(
        square, max(0.0, (square / side - 1) / 2)
    )
    return np.einsum("ys,sxc->yxc", across, np.einsum("xs,ysc->yxc", across, padded))
