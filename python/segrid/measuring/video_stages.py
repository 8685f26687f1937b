"""Seconds of each stage of following objects through a video."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segrid._types import JsonObject
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.measuring.trace import Trace
from segrid.video.frames import FrameNotFound

if TYPE_CHECKING:
    from segrid.video.sources import VideoLike
    from segrid.video.tracker import Tracker

# The stages, each with the spans of its parts (see `segrid.Trace`).
STAGES = {
    "encode": ("qkv", "window attention", "pack keys", "global attention", "mlp", "neck"),
    "memory attention": (
        "memory qkv",
        "memory self-attention",
        "memory keys",
        "memory cross-attention",
        "memory mlp",
    ),
    "decode": ("tokens", "sweep", "upscale"),
    "memory encoder": ("mask downsampling", "mask and image", "memory fuser"),
    "scan": (),
}


def drawn_clip(frames: int = 24) -> list[NDArray[np.uint8]]:
    """Frames of (360, 640, 3) uint8: a disc that moves over a gradient; always the same."""
    y, x = np.mgrid[:360, :640]
    clip = []
    for i in range(frames):
        picture = np.stack([x / 640, y / 360, (x + y) / 1000], axis=2) * 160
        cx, cy = 120 + 400 * i / frames, 180 + 60 * np.sin(i / 3)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < 60**2] = (230, 90, 40)
        clip.append(picture.astype(np.uint8))
    return clip


def video_seconds(
    tracker: Tracker, source: VideoLike, *, objects: int, frames: int, memory_frames: int | None
) -> JsonObject:
    """Follows objects that are clicked along the middle of the first frame, and measures `frames`
    frames once the memory is full.

    The result holds the seconds until the first mask and the first followed frame, of a frame with
    a full memory (the median), of its stages (on the calling thread) and their parts (summed over
    workers), the multiply-adds of the parts, and the memory above that of the loaded model, in MB
    (None where the system does not tell).

    Raises ValueError for a video that is too short.
    """
    loaded = resident_mb("VmRSS")
    reset_peak()
    begin, first = perf_counter(), 0.0
    with tracker.open(source, memory_frames=memory_frames) as session:
        height, width = session.size
        for i in range(objects):
            session.add(i + 1, points=[[width * (i + 1) / (objects + 1), height / 2]])
            first = first or perf_counter() - begin
        full = (memory_frames or 7) + 1
        seconds = []
        steps = session.propagate(frames=full + frames)
        try:
            for _ in range(full):
                seconds.append(_timed(steps))
            with Trace() as trace:
                for _ in range(frames):
                    seconds.append(_timed(steps))
        except (StopIteration, FrameNotFound) as error:
            raise ValueError(
                f"bench: the video needs {full + frames} frames, it has {len(seconds)}"
            ) from error
    spans = {name: value / frames for name, value in trace.seconds().items()}
    return {
        "objects": objects,
        "first_mask": first,
        "first_followed": seconds[1],
        "frame": float(np.median(seconds[full:])),
        "seconds": {stage: spans.get(stage, 0.0) for stage in STAGES},
        "worker_seconds": spans,
        "multiply_adds": {
            name: {precision: count / frames for precision, count in products.items()}
            for name, products in trace.multiply_adds().items()
        },
        "memory_mb": difference(resident_mb("VmHWM"), loaded),
    }


def _timed(steps: object) -> float:
    begin = perf_counter()
    next(steps)  # type: ignore[call-overload]
    return perf_counter() - begin
