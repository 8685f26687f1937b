"""Frames as pictures whose pixels are the objects' numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segrid._files import atomic_write
from segrid.video.tracked import Tracked

MAX_ID = 65535


class LabelFolder:
    """Writes a PNG for each frame, 00000.png, ..., named by the frame's index. It has 8 bits, or 16
    where an id of the frame is above 255. Each file is written completely or not at all."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(os.fsdecode(folder))

    def add(self, tracked: Tracked) -> Path:
        """Writes one frame and returns its file. Raises what `id_map` raises, and OSError."""
        from PIL import Image

        path = self.folder / f"{tracked.index:05d}.png"
        picture = Image.fromarray(id_map(tracked))
        with atomic_write(path) as part:
            picture.save(part, "PNG")
        return path


def id_map(tracked: Tracked) -> NDArray[np.unsignedinteger]:
    """Returns (H, W) uint8, or uint16 for ids above 255: the id of the object in each pixel, 0 for
    none. Where masks overlap, the smaller one is on top.

    Raises ValueError for ids below 1 or above 65535.
    """
    for number in tracked.ids:
        if not 1 <= number <= MAX_ID:
            raise ValueError(
                f"frame {tracked.index}: object {number} has no number in a picture, where ids are "
                f"1 to {MAX_ID} and 0 is the background; add the object with such an id"
            )
    kind = np.uint8 if max(tracked.ids, default=0) <= 255 else np.uint16
    numbers: NDArray[np.unsignedinteger] = np.array([0, *tracked.ids], kind)
    return numbers[tracked.masks.label_map()]
