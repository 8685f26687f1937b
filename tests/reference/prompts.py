"""Point grids and crops."""

import math

import numpy as np


def point_grid(n: int) -> np.ndarray:
    places = np.linspace(1 / (2 * n), 1 - 1 / (2 * n), n)
    return np.array([(x, y) for y in places for x in places])


def crop_boxes(
    size: tuple[int, int], layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    height, width = size
    boxes, of_layer = [[0, 0, width, height]], [0]
    for layer in range(1, layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / side))
        w = math.ceil((overlap * (side - 1) + width) / side)
        h = math.ceil((overlap * (side - 1) + height) / side)
        for i in range(side):
            for j in range(side):
                x, y = (w - overlap) * i, (h - overlap) * j
                boxes.append([x, y, min(x + w, width), min(y + h, height)])
                of_layer.append(layer)
    return boxes, of_layer
