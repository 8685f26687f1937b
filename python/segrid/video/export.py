"""Writes the objects of a video to files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from segrid.video.frames import Frames
from segrid.video.label_folder import LabelFolder
from segrid.video.overlay_video import OverlayVideo
from segrid.video.rle_file import RleFile
from segrid.video.track_table import TrackTable
from segrid.video.tracked import Tracked

DEFAULT_RATE = 25.0
PathLike = str | os.PathLike[str]


def export(
    results: Iterable[Tracked],
    frames: Frames,
    *,
    overlay: PathLike | None = None,
    labels: PathLike | None = None,
    rle: PathLike | None = None,
    table: PathLike | None = None,
    rate: float | None = None,
) -> list[Path]:
    """Writes what has a path, and returns the paths. Nothing is kept in memory.

    results : the objects of each frame, in the order in which they are to be written
    frames : of the same video; only `overlay` reads them
    overlay : an .mp4, .mov, .mkv or .avi file with the objects drawn on the frames
    labels : a folder of PNGs, whose pixels are the objects' ids
    rle : a .json file of all masks (see `RleFile`)
    table : a .csv file of areas, boxes and centroids
    rate : frames per second of the overlay; None: that of the frames, else 25

    The files appear when all frames are written; label pictures appear one by one. Raises
    ValueError where there is nothing to write, for files of other endings, and for a rate that is
    not above 0; and what the writers and `frames` raise.
    """
    for name, path, ending in (("rle", rle, ".json"), ("table", table, ".csv")):
        if path is not None and not os.fspath(path).lower().endswith(ending):
            raise ValueError(f"{name}: expected a {ending} file, got {os.fspath(path)}")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"rate: must be above 0 frames per second, got {rate}")
    rate = frames.rate if rate is None else rate
    overlay_rate = DEFAULT_RATE if rate is None else rate
    written: list[Path] = []
    add: list[Callable[[Tracked], object]] = []
    with ExitStack() as files:
        if rle is not None:
            rle_file = files.enter_context(RleFile(rle, rate=rate))
            add.append(rle_file.add)
            written.append(rle_file.path)
        if table is not None:
            track_table = files.enter_context(TrackTable(table))
            add.append(track_table.add)
            written.append(track_table.path)
        if labels is not None:
            folder = LabelFolder(labels)
            add.append(folder.add)
            written.append(folder.folder)
        if overlay is not None:
            video = files.enter_context(OverlayVideo(overlay, rate=overlay_rate))
            add.append(lambda tracked: video.add(frames.read(tracked.index), tracked))
            written.append(video.path)
        if not written:
            raise ValueError("export: pass at least one of overlay=, labels=, rle= and table=")
        for tracked in results:
            for write in add:
                write(tracked)
    return written
