"""The masks of all frames as run lengths, in one JSON file."""

from __future__ import annotations

import json
import math
import os

from segrid._types import JsonObject
from segrid.video.growing_file import GrowingFile
from segrid.video.tracked import Tracked


class RleFile(GrowingFile):
    """Writes {"height": H, "width": W, "frame_rate": frames per second or null, "frames": [...]}
    with a line for each frame:

    {"index": 0, "objects": [{"id": 1, "name": "dog", "score": 0.98, "area": 5120, "bbox": [x, y, w,
    h], "segmentation": {"size": [H, W], "counts": "..."}}]}

    "segmentation" is COCO's compressed RLE, with counts as text (pycocotools' `mask.decode` takes
    it), "bbox" is pycocotools' `toBbox`, in pixels. A lost object has area 0. "name" is null for an
    object without one, "score" for a score that is not finite.

    rate : frames per second, as `Frames.rate`
    """

    def __init__(self, path: str | os.PathLike[str], *, rate: float | None = None) -> None:
        super().__init__(path)
        self._rate = rate
        self._size: tuple[int, int] | None = None
        self._file = self._open_text()

    def add(self, tracked: Tracked) -> None:
        """Writes the objects of one frame. Raises OSError, and ValueError for masks of another size
        than before."""
        size = tracked.masks.size
        if self._size is None:
            self._begin(size)
            self._file.write("\n")
        elif size != self._size:
            raise ValueError(
                f"{self.path}: frame {tracked.index} has masks of {size[1]} x {size[0]} pixels, "
                f"the frames before of {self._size[1]} x {self._size[0]}"
            )
        else:
            self._file.write(",\n")
        self._file.write(json.dumps(frame_record(tracked), allow_nan=False))

    def _begin(self, size: tuple[int, int] | None) -> None:
        self._size = size
        height, width = size or (None, None)
        about = {"height": height, "width": width, "frame_rate": self._rate}
        self._file.write(json.dumps(about)[:-1] + ', "frames": [')

    def _finish(self) -> None:
        if self._size is None:
            self._begin(None)
        self._file.write("\n]}\n")
        self._file.close()

    def _drop(self) -> None:
        self._file.close()


def frame_record(tracked: Tracked) -> JsonObject:
    """Returns the JSON object of one frame, as `RleFile` writes it."""
    found = zip(tracked.ids, tracked.scores.tolist(), tracked.masks.to_coco(), strict=True)
    return {
        "index": int(tracked.index),
        "objects": [
            {
                "id": int(number),
                "name": tracked.names.get(number) or None,
                "score": score if math.isfinite(score) else None,
                **{field: coco[field] for field in ("area", "bbox", "segmentation")},
            }
            for number, score, coco in found
        ],
    }
