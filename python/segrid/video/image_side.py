"""A video model at another side of its square than the one that it was trained for."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segrid._types import JsonObject


@contextmanager
def config_of_side(config: str | os.PathLike[str], side: int | None) -> Iterator[str]:
    """Yields the path of a config.json as `config`, with `side` pixels along each side of the
    model's square; of `config` itself where side is None.

    No tensor of SAM 2 depends on the side: positions are computed, or resized from a small table.

    Raises ValueError for a side that the model cannot have; OSError.
    """
    if side is None:
        yield os.fspath(config)
        return
    if side < 64 or side % 32 != 0:
        raise ValueError(f"image_side: must be a multiple of 32 and at least 64, got {side}")
    facts = json.loads(Path(config).read_text(encoding="utf-8"))
    if "vision_config" not in facts:
        raise ValueError(f"image_side: {os.fspath(config)} is not the config of a video model")
    _put_side(facts, side)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(facts), encoding="utf-8")
        yield str(path)


def _put_side(facts: JsonObject, side: int) -> None:
    """Changes all places of a Sam2VideoConfig that tell the side or follow from it."""
    backbone = facts["vision_config"]["backbone_config"]
    stride = backbone.get("patch_stride", [4, 4])
    grid = side // (stride[0] if isinstance(stride, list) else stride)
    facts["image_size"] = side
    facts.setdefault("prompt_encoder_config", {})["image_size"] = side
    backbone["image_size"] = [side, side]
    facts["vision_config"]["backbone_feature_sizes"] = [[grid >> level] * 2 for level in range(3)]
    facts["memory_attention_rope_feat_sizes"] = [grid >> 2] * 2
