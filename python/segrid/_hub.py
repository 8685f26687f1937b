"""From the name of a model to its files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

PACKAGED = Path(__file__).parent / "models"


class ModelFiles(NamedTuple):
    config: str
    weights: str
    settings: str | None


def packaged_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in PACKAGED.glob("*/config.json"))


def locate(model: str | os.PathLike[str]) -> ModelFiles:
    """Files of a packaged model, a folder with config.json and model.safetensors, or one .safetensors file with config.json beside it.

    Raises FileNotFoundError naming what is missing, NotImplementedError for Hugging Face ids and pickled checkpoints.
    """
    name = os.fspath(model)
    if name in packaged_models():
        return _from_folder(PACKAGED / name)
    path = Path(name)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
        raise NotImplementedError(
            f"{name}: pickled checkpoints are never loaded (they can run code); save the weights as safetensors with "
            "transformers' save_pretrained() and pass that folder"
        )
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".safetensors":
        return _files(path.parent, path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not path.exists():
        raise NotImplementedError(
            f"{name!r}: neither a folder here nor a packaged model; names on the Hugging Face Hub are not supported yet. Download the model "
            "(huggingface-cli download) and pass its folder"
        )
    raise FileNotFoundError(
        f"model {name!r}: no such folder or .safetensors file; packaged models: {', '.join(packaged_models())}"
    )


def _from_folder(folder: Path) -> ModelFiles:
    return _files(folder, folder / "model.safetensors")


def _files(folder: Path, weights: Path) -> ModelFiles:
    config, settings = folder / "config.json", folder / "segrid.json"
    for needed in (config, weights):
        if not needed.exists():
            raise FileNotFoundError(f"{needed}: missing; a model is config.json beside its .safetensors file")
    return ModelFiles(str(config), str(weights), str(settings) if settings.exists() else None)
