"""Seconds of each stage of segment everything."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segrid._types import ImageItem, JsonObject
from segrid.measuring.trace import Trace

if TYPE_CHECKING:
    from segrid.segmenter import Segmenter

# The stages that have parts, each with the names of its spans (see `segrid.Trace`).
PARTS = {
    "encode": ("qkv", "window attention", "pack keys", "global attention", "mlp", "neck"),
    "decode": ("tokens", "sweep", "upscale"),
}
STAGES = ("resize", "encode", "decode", "scan", "filter", "total")


def drawn_picture() -> NDArray[np.uint8]:
    """(1200, 1800, 3) uint8: discs on a colour gradient; every call returns the same picture."""
    y, x = np.mgrid[:1200, :1800]
    picture = np.stack([x / 1800, y / 1200, (x + y) / 3000], axis=2) * 160
    random = np.random.default_rng(0)
    for _ in range(60):
        cx, cy, r = random.uniform(0, 1800), random.uniform(0, 1200), random.uniform(15, 120)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = random.uniform(0, 255, 3)
    return picture.astype(np.uint8)


def stage_seconds(
    segmenter: Segmenter, image: ImageItem, points_per_side: int, repeat: int
) -> JsonObject:
    """Measures segment everything on one image: the run of median length among `repeat` runs.

    One run before them warms up. The result holds the seconds of each stage (wall clock) and of
    each part (summed over workers), and the multiply-adds of each part.
    """
    segmenter.everything(image, points_per_side=points_per_side)
    runs = []
    for _ in range(repeat):
        begin = perf_counter()
        with Trace() as trace:
            masks = segmenter.everything(image, points_per_side=points_per_side)
        runs.append((perf_counter() - begin, masks.stats, trace, len(masks)))
    total, stats, trace, objects = sorted(runs, key=lambda r: r[0])[(repeat - 1) // 2]
    return {
        "objects": objects,
        "seconds": {s: stats["seconds"].get(s, 0.0) for s in STAGES},
        "worker_seconds": trace.seconds(),
        "multiply_adds": trace.multiply_adds(),
        "fastest": min(r[0] for r in runs),
        "slowest": max(r[0] for r in runs),
        "peak_memory_mb": stats["peak_memory_mb"],
    }
