"""Measures how many boxes to give to one call of `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segrid._types import ImageItem
from segrid.measuring.memory import difference, reset_peak, resident_mb

if TYPE_CHECKING:
    from segrid.embedding import Embedding
    from segrid.segmenter import Segmenter


@dataclass(frozen=True)
class PromptBatch:
    """The speed of a batch of boxes.

    boxes : the number of boxes in one call of `predict` on an encoded image
    seconds : of the call, the fastest of `repeat`
    memory_mb : the peak of memory above that before the calls
    error : why there are no figures ("out of memory"), else None
    """

    boxes: int
    seconds: float | None = None
    boxes_per_second: float = 0.0
    memory_mb: float | None = None
    error: str | None = None


def sweep_prompts(
    segmenter: Segmenter,
    image: ImageItem,
    counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    repeat: int = 3,
) -> list[PromptBatch]:
    """Measures how many boxes to give to one call.

    The image is encoded once; then batches of random boxes are decoded. The row of a batch that
    does not fit in memory says so.

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
            boxes = _boxes(embedding, count)
            before = resident_mb("VmRSS")
            reset_peak()
            times = []
            for _ in range(repeat):
                began = perf_counter()
                segmenter.predict(embedding, boxes=boxes)
                times.append(perf_counter() - began)
            rows.append(
                PromptBatch(
                    count, min(times), count / min(times), difference(resident_mb("VmHWM"), before)
                )
            )
        except MemoryError:
            rows.append(PromptBatch(count, error="out of memory"))
    return rows


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
