"""Packs masks for another process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segrid.mask_matching import BoxedMask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segrid.results import Masks


def packed(masks: Masks, image: int) -> dict[str, NDArray[Any]]:
    """The masks of one image as arrays that `np.savez` writes and `unpacked` reads."""
    height, width = masks.size
    kept = {f"{image}.size": np.array([height, width])}
    for j, mask in enumerate(masks):
        if mask.areas[0] == 0:
            continue
        x0, y0, x1, y1 = (int(v) for v in mask.boxes[0])
        inside = mask.array[0][y0 : y1 + 1, x0 : x1 + 1]
        kept[f"{image}.{j}"] = np.concatenate(
            [
                np.array([height, width, x0, y0, x1 + 1, y1 + 1], "<i8").view(np.uint8),
                np.packbits(inside),
            ]
        )
    return kept


def unpacked(file: Path) -> list[list[BoxedMask]]:
    """The masks of each image, from a file of `np.savez` with the arrays of `packed`."""
    found = unpacked_by_place(file)
    return [list(of_image.values()) for of_image in found]


def unpacked_by_place(file: Path) -> list[dict[int, BoxedMask]]:
    """The masks of each image by their place in it; empty masks are left out."""
    with np.load(file) as stored:
        images: list[dict[int, BoxedMask]] = [{} for name in stored.files if name.endswith(".size")]
        for name in stored.files:
            if name.endswith(".size"):
                continue
            data = stored[name]
            height, width, x0, y0, x1, y1 = (int(v) for v in data[:48].view("<i8"))
            inside = (
                np.unpackbits(data[48:], count=(y1 - y0) * (x1 - x0))
                .reshape(y1 - y0, x1 - x0)
                .astype(bool)
            )
            image, place = (int(number) for number in name.split("."))
            images[image][place] = BoxedMask(
                (height, width), (x0, y0, x1, y1), inside, int(inside.sum())
            )
    return images
