"""Writes models whose weights are kept in int8, for `Segmenter.save`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from segrid import _core
from segrid._hub import ModelFiles
from segrid._model_folder import WEIGHTS, new_model_folder, write_weights
from segrid._types import Tensors

TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")


def save(
    files: ModelFiles, config: bytes, names: list[str], folder: Path, tokenizer: Path | None
) -> None:
    """Writes the model of `files`, with the tensors in `names` as I8 beside their scales.

    config : the content of its config.json, which may differ from the file's
    tokenizer : the folder with the tokenizer of a detector; None for other models

    Raises FileExistsError where the folder holds a model, OSError.
    """
    from safetensors import safe_open

    with new_model_folder(folder) as part:
        tensors: Tensors = {}
        with safe_open(files.weights, "pt") as source:
            for name in source.keys():  # noqa: SIM118 (not a dict)
                tensors[name] = source.get_tensor(name)
        for name in names:
            if f"{name}_scale" not in tensors:
                tensors[name], tensors[f"{name}_scale"] = quantise(tensors[name])
        write_weights(tensors, part / WEIGHTS)
        (part / "config.json").write_bytes(config)
        words = [] if tokenizer is None else [tokenizer / name for name in TOKENIZER]
        for file in words:
            if file.exists():
                shutil.copyfile(file, part / file.name)
        settings = (
            json.loads(Path(files.settings).read_text(encoding="utf-8")) if files.settings else {}
        )
        (part / "segrid.json").write_text(
            json.dumps(settings | {"quantised": "int8"}, indent=1) + "\n", encoding="utf-8"
        )


def quantise(weight: Any) -> tuple[Any, Any]:
    """Quantises a (N, K) tensor to (N, K) int8 values and (N,) float32 scales, with the same bits
    as when a model is loaded on this CPU. Row n is scale[n] * values[n]."""
    import torch

    values, scales = _core.quantise(weight.to(torch.float32).numpy())
    return torch.from_numpy(values), torch.from_numpy(scales)
