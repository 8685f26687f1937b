"""Writes models whose weights are kept in int8, for `Segmenter.save`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from segrid import _core
from segrid._files import atomic_write
from segrid._hub import ModelFiles
from segrid._types import Tensors


def save(files: ModelFiles, names: list[str], precision: str, folder: Path) -> None:
    """Writes the model of `files`, with the tensors in `names` as I8 beside their scales."""
    if precision != "int8":
        raise ValueError(
            f"save: this model runs in {precision}; only int8 needs its own files: Segmenter(..., "
            "precision='int8').save(...)"
        )
    from safetensors import safe_open
    from safetensors.torch import save_file

    target = folder / "model.safetensors"
    if target.exists():
        raise FileExistsError(f"{target}: exists; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: Tensors = {}
    with safe_open(files.weights, "pt") as source:
        for name in source.keys():  # noqa: SIM118 (not a dict)
            tensors[name] = source.get_tensor(name)
    for name in names:
        if f"{name}_scale" not in tensors:
            tensors[name], tensors[f"{name}_scale"] = quantise(tensors[name])
    settings = (
        json.loads(Path(files.settings).read_text(encoding="utf-8")) if files.settings else {}
    )
    with atomic_write(target) as part:  # it appears last: a folder with weights is complete
        save_file(
            {name: t.contiguous() for name, t in tensors.items()},
            str(part),
            metadata={"format": "pt"},
        )
        shutil.copyfile(files.config, folder / "config.json")
        # These are the tokenizer files of a detector.
        for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
            if (words := Path(files.config).parent / name).exists():
                shutil.copyfile(words, folder / name)
        (folder / "segrid.json").write_text(
            json.dumps(settings | {"quantised": "int8"}, indent=1) + "\n", encoding="utf-8"
        )


def quantise(weight: Any) -> tuple[Any, Any]:
    """Quantises a (N, K) tensor to (N, K) int8 values and (N,) float32 scales, with the same bits
    as when a model is loaded on this CPU. Row n is scale[n] * values[n]."""
    import torch

    values, scales = _core.quantise(weight.to(torch.float32).numpy())
    return torch.from_numpy(values), torch.from_numpy(scales)
