"""Where each object is in each frame, as a CSV table."""

from __future__ import annotations

import csv
import math
import os

from segrid.video.growing_file import GrowingFile
from segrid.video.tracked import Tracked

COLUMNS = (
    "frame",
    "id",
    "name",
    "score",
    "area",
    "x0",
    "y0",
    "x1",
    "y1",
    "centroid_x",
    "centroid_y",
)


class TrackTable(GrowingFile):
    """Writes a row for each frame and object: area in pixels, box with inclusive maximum, and
    centroid in pixels, where the centre of pixel (y, x) is x, y. A lost object has area 0 and
    neither box nor centroid."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._file = self._open_text()
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def add(self, tracked: Tracked) -> None:
        """Writes the objects of one frame. Raises OSError."""
        masks = tracked.masks
        found = zip(
            tracked.ids,
            tracked.scores.tolist(),
            masks.areas.tolist(),
            masks.boxes.tolist(),
            masks.measure()["centroid"].tolist(),
            strict=True,
        )
        for number, score, area, box, centroid in found:
            place = [*box, *centroid] if area else [math.nan] * 6
            numbers = ["" if math.isnan(v) else f"{v:.6g}" for v in (score, *place)]
            name = tracked.names.get(number, "")
            self._rows.writerow([tracked.index, number, name, numbers[0], area, *numbers[1:]])

    def _finish(self) -> None:
        self._file.close()

    def _drop(self) -> None:
        self._file.close()
