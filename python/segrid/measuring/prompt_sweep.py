"""Measures how many boxes to give to one call of `predict`."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segrid._native import _core
from segrid._types import ImageItem, JsonObject
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.measuring.own_process import main_of

if TYPE_CHECKING:
    from segrid.embedding import Embedding
    from segrid.segmenter import Segmenter

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FEW_COUNTS = (1, 16, 64)  # on CPUs the number changes little


@dataclass(frozen=True)
class PromptBatch:
    """The speed of a batch of boxes.

    boxes : the number of boxes in one call of `predict` on an encoded image
    seconds : of the call, the fastest of `repeat`
    memory_mb : the peak of memory above that before the calls
    device_mb : the peak of the device's memory so far, model and image included; None on CPUs
    at_once : the boxes that a device decoded at once; fewer than `boxes` where its memory ran out.
        None on CPUs
    error : why there are no figures ("out of memory"), else None
    """

    boxes: int
    seconds: float | None = None
    boxes_per_second: float = 0.0
    memory_mb: float | None = None
    device_mb: float | None = None
    at_once: int | None = None
    error: str | None = None

    @property
    def ran_out(self) -> bool:
        """Whether memory ran out, so that there are no figures or those of smaller batches."""
        return self.error is not None or (self.at_once is not None and self.at_once < self.boxes)


def sweep_prompts(
    segmenter: Segmenter,
    image: ImageItem,
    counts: Sequence[int] = COUNTS,
    repeat: int = 3,
) -> list[PromptBatch]:
    """Measures how many boxes to give to one call.

    The image is encoded once; then batches of random boxes are decoded, on a device all at once.
    The row of a batch that does not fit in memory says so; the engine warns of it in other calls.

    Raises ValueError for counts below 1, and what `encode` raises.
    """
    if not counts or min(counts) < 1 or repeat < 1:
        raise ValueError(
            f"sweep: counts and repeat must be at least 1, got {list(counts)} and {repeat}"
        )
    embedding = segmenter.encode(image)
    rows = []
    for count in counts:
        try:
            segmenter.predict(embedding, boxes=_boxes(embedding, min(count, 2)))  # warms up
            rows.append(_measured(segmenter, embedding, count, repeat))
        except MemoryError:
            rows.append(PromptBatch(count, error="out of memory"))
    return rows


def fastest(rows: Sequence[PromptBatch]) -> PromptBatch:
    """The row of most boxes per second among those whose boxes were decoded as they were given."""
    return max(rows, key=lambda row: (not row.ran_out, row.boxes_per_second))


def sweep_in_process(job: JsonObject) -> list[PromptBatch]:
    """`sweep_prompts` in a process of its own.

    job : {"model", "device", "precision", "threads", "image", "counts"}; without counts (None)
        those that are worth it on the device

    Raises RuntimeError where the process fails."""
    done = subprocess.run(
        main_of(__name__),
        input=json.dumps(job),
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"sweep: the process that measures batches of boxes failed: {reason}")
    return [PromptBatch(**row) for row in json.loads(lines[-1])]


def _main() -> None:
    """The process of `sweep_in_process`: the job comes in, and the rows go out, as JSON."""
    job = json.loads(sys.stdin.read())
    out, sys.stdout = sys.stdout, sys.stderr  # libraries print to the latter
    import segrid

    segrid.set_threads(job["threads"])
    segmenter = segrid.Segmenter(job["model"], device=job["device"], precision=job["precision"])
    counts = job["counts"] or (FEW_COUNTS if segmenter.device == "cpu" else COUNTS)
    rows = sweep_prompts(segmenter, job["image"], counts, repeat=2)
    out.write(json.dumps([asdict(row) for row in rows]) + "\n")


def _measured(segmenter: Segmenter, embedding: Embedding, count: int, repeat: int) -> PromptBatch:
    boxes = _boxes(embedding, count)
    before = resident_mb("VmRSS")
    reset_peak()
    _core.reset_device_peak(segmenter.device)
    times: list[float] = []
    at_once: list[int] = []
    with warnings.catch_warnings():
        # The row itself says that a device halved its batches.
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(repeat):
            began = perf_counter()
            masks = segmenter.predict(embedding, boxes=boxes, batch_size=_limit(segmenter, count))
            times.append(perf_counter() - began)
            if segmenter.device != "cpu":
                at_once.append(masks.stats["batch_size"])
    stats, seconds = masks.stats, min(times)
    return PromptBatch(
        boxes=count,
        seconds=seconds,
        boxes_per_second=count / seconds,
        memory_mb=difference(resident_mb("VmHWM"), before),
        device_mb=stats.get("peak_device_memory_mb"),
        at_once=min(at_once, default=None),
    )


def _limit(segmenter: Segmenter, count: int) -> int | None:
    """The `batch_size` of a call: on a device all boxes at once, on CPUs what is fastest there."""
    return None if segmenter.device == "cpu" else count


def _boxes(embedding: Embedding, count: int) -> NDArray[np.float64]:
    height, width = embedding.image_size
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.5, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.1, 0.5, (count, 2))], 1) * [
        width,
        height,
        width,
        height,
    ]
