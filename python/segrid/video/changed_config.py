"""The config of a video model with other settings than those that it was trained with."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segrid._types import JsonObject


@dataclass(frozen=True)
class ConfigChange:
    """What is changed. image_side: of the model's square, pixels; memory_pooling: the side of the
    squares of remembered tokens of which the mean is kept. None: as the config says."""

    image_side: int | None = None
    memory_pooling: int | None = None

    @contextmanager
    def applied(self, config: str | os.PathLike[str]) -> Iterator[str]:
        """Yields the path of a config.json as `config`, changed; of `config` itself if nothing is.

        No tensor of SAM 2 depends on them: positions are computed, or resized from a small table.

        Raises ValueError for a value that no model can have; OSError.
        """
        facts = {}
        if self != ConfigChange():
            facts = json.loads(Path(config).read_text(encoding="utf-8"))
            if "vision_config" not in facts:
                raise ValueError(f"{os.fspath(config)} is not the config of a video model")
        changes = False
        if self.image_side not in (None, facts.get("image_size", 1024)):
            _put_side(facts, self.image_side)
            changes = True
        if self.memory_pooling not in (None, facts.get("memory_pooling", 1)):
            _put_pooling(facts, self.memory_pooling)
            changes = True
        if not changes:  # a model is known by its config, too, so it stays the same model
            yield os.fspath(config)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps(facts), encoding="utf-8")
            yield str(path)


def _put_side(facts: JsonObject, side: int) -> None:
    """Changes all places of a Sam2VideoConfig that tell the side or follow from it."""
    if side < 64 or side % 32 != 0:
        raise ValueError(f"image_side: must be a multiple of 32 and at least 64, got {side}")
    backbone, grid = facts["vision_config"]["backbone_config"], _finest_grid(facts, side)
    facts["image_size"] = side
    facts.setdefault("prompt_encoder_config", {})["image_size"] = side
    backbone["image_size"] = [side, side]
    facts["vision_config"]["backbone_feature_sizes"] = [[grid >> level] * 2 for level in range(3)]
    facts["memory_attention_rope_feat_sizes"] = [grid >> 2] * 2


def _finest_grid(facts: JsonObject, side: int) -> int:
    """The patches along a side."""
    stride = facts["vision_config"]["backbone_config"].get("patch_stride", [4, 4])
    return int(side // (stride[0] if isinstance(stride, list) else stride))


def _put_pooling(facts: JsonObject, pooling: int) -> None:
    grid = _finest_grid(facts, facts.get("image_size", 1024)) >> 2
    if pooling < 1 or grid % pooling != 0:
        raise ValueError(
            f"memory_pooling: must divide the {grid} image tokens along a side, got {pooling}"
        )
    facts["memory_pooling"] = pooling
