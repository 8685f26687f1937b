"""From prompts to masks with their low-res logits, for any number of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segrid.embedding import Embedding
from segrid.results import Masks
from segrid.segmenter import Segmenter

# The engine keeps no more logits of one call (kMaxLowResBytes).
LOW_RES_BYTES = 256 << 20
PROMPTS = ("points", "labels", "boxes", "mask_hints")


@dataclass(frozen=True)
class Decoded:
    """The masks of one or several calls of the engine, one call after the other."""

    parts: Sequence[Masks]

    @property
    def array(self) -> np.ndarray:
        """(N, H, W) bool: a view of the engine's memory if there was one call."""
        return _joined([part.array for part in self.parts])

    @property
    def scores(self) -> np.ndarray:
        """(N,) float32, a copy that the user may write into."""
        return np.concatenate([part.scores for part in self.parts])

    @property
    def low_res(self) -> np.ndarray:
        """(N, h, w) float32 logits, a copy that the user may write into."""
        return np.concatenate([_low_res(part) for part in self.parts])


def decode(
    segmenter: Segmenter, embedding: Embedding, *, multimask: bool, **arguments: Any
) -> Decoded:
    """Calls `Segmenter.predict` with `anywhere=True`, as often as the engine needs in order to keep
    the logits of all masks. Without any prompt it decodes one empty prompt, as the originals do.

    Raises ValueError for arrays of 0 prompts, and what `Segmenter.predict` raises."""
    prompts = {name: arguments.pop(name) for name in PROMPTS if arguments.get(name) is not None}
    counts = {len(rows) for rows in prompts.values()}
    if counts == {0}:
        raise ValueError(
            f"predict: the {' and '.join(prompts)} are empty (0 prompts); call it only for images "
            "in which something was detected"
        )
    height, width = segmenter.low_res_size
    most = max(1, LOW_RES_BYTES // (4 * height * width * (3 if multimask else 1)))
    # If the counts differ, `predict` refuses them.
    starts = range(0, max(counts), most) if len(counts) == 1 and max(counts) > most else [0]
    return Decoded(
        [
            segmenter.predict(
                embedding,
                multimask=multimask,
                anywhere=True,
                **{
                    name: rows[start : start + most] if len(starts) > 1 else rows
                    for name, rows in prompts.items()
                },
                **arguments,
            )
            for start in starts
        ]
    )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _low_res(masks: Masks) -> np.ndarray:
    assert masks.low_res is not None, "decode asks for few enough masks at once"
    return masks.low_res
