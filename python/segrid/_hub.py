"""Finds the files of a model by its name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from segrid._downloads import check_model_file

PACKAGED = Path(__file__).parent / "models"
INDEX = "model.safetensors.index.json"
SPLIT = "its weights are split over several files; merge them with transformers' save_pretrained()"


class ModelFiles(NamedTuple):
    config: str
    weights: str
    settings: str | None


def packaged_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in PACKAGED.glob("*/config.json"))


def locate(model: str | os.PathLike[str]) -> ModelFiles:
    """Finds the files of a model.

    model : a packaged model, a folder with config.json and model.safetensors, a .safetensors file
        with config.json beside it, or a Hugging Face id ("facebook/sam2.1-hiera-tiny",
        "owner/name@revision"), whose files come from the Hub's cache or are downloaded into it

    Raises FileNotFoundError naming what is missing; NotImplementedError for pickled checkpoints and
    weights in several files; CorruptFileError for files that are empty, web pages, git-lfs
    pointers, pipes or devices; ValueError for a path that is not UTF-8.
    """
    files = _located(model)
    check_model_file(files.config)
    check_model_file(files.weights, binary="weights")
    return files


def _located(model: str | os.PathLike[str]) -> ModelFiles:
    name = os.fspath(model)
    if name in packaged_models():
        return _from_folder(PACKAGED / name)
    path = Path(name)
    if path.is_dir():
        return _from_folder(path)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
        raise NotImplementedError(
            f"{name}: pickled checkpoints are never loaded (they can run code); convert its "
            f"weights once with `segrid convert {name} -o FOLDER` and pass that folder"
        )
    if path.suffix == ".safetensors":
        return _files(path.parent, path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) and not path.exists():
        return _from_hub(*name.split("@", 1))
    raise FileNotFoundError(
        f"model {name!r}: no such folder or .safetensors file; packaged models: "
        f"{', '.join(packaged_models())}"
    )


def tokenizer_folder(model: str, files: ModelFiles) -> Path:
    """The folder with the tokenizer files of a located model; those of a Hub model are fetched."""
    folder = Path(files.config).parent
    if model in packaged_models() or Path(model).exists():
        return folder
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, _, revision = model.partition("@")
    for names in (("tokenizer.json",), ("vocab.json", "merges.txt")):
        try:
            return [
                Path(hf_hub_download(repo, name, revision=revision or None)).parent
                for name in names
            ][0]
        except (EntryNotFoundError, LocalEntryNotFoundError):
            continue
    raise FileNotFoundError(
        f"model {model!r}: neither tokenizer.json nor vocab.json with merges.txt on the Hub or in "
        "its cache; words need them"
    )


def _from_folder(folder: Path) -> ModelFiles:
    if not (folder / "model.safetensors").exists():
        if (folder / INDEX).exists():
            raise NotImplementedError(f"model {str(folder)!r}: {SPLIT}")
        if (folder / "pytorch_model.bin").exists():
            raise NotImplementedError(
                f"model {str(folder)!r}: holds pytorch_model.bin and no model.safetensors; pickled "
                "weights are never loaded (they can run code); write the model again with "
                "transformers' save_pretrained(), which makes model.safetensors"
            )
    return _files(folder, folder / "model.safetensors")


def _files(folder: Path, weights: Path) -> ModelFiles:
    config, settings = folder / "config.json", folder / "segrid.json"
    for needed in (config, weights):
        if not needed.exists():
            raise FileNotFoundError(
                f"{needed}: missing; a model is config.json beside its .safetensors file"
            )
    return ModelFiles(str(config), str(weights), str(settings) if settings.exists() else None)


def _from_hub(repo: str, revision: str | None = None) -> ModelFiles:
    """Gets the files through huggingface_hub, with its cache, its offline mode (HF_HUB_OFFLINE=1)
    and its progress bar."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetch(name: str) -> str:
        return str(hf_hub_download(repo, name, revision=revision))

    def optional(name: str) -> str | None:
        try:
            return fetch(name)
        except (EntryNotFoundError, LocalEntryNotFoundError):
            return None

    try:
        config, weights = fetch("config.json"), fetch("model.safetensors")
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"model {repo!r}: not a folder here, not in the Hugging Face cache, and the Hub cannot "
            "be reached (or HF_HUB_OFFLINE is set); download it where there is a network, or pass "
            "a folder"
        ) from error
    except EntryNotFoundError as error:
        if optional(INDEX):
            raise NotImplementedError(f"model {repo!r}: {SPLIT}") from error
        raise FileNotFoundError(
            f"model {repo!r}: has no config.json with model.safetensors on the Hub; for an "
            "original checkpoint use `segrid convert`"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"model {repo!r}: neither a folder here nor, for this user, a "
            f"repository{' with that revision' if revision else ''} on the Hugging Face Hub "
            "(private and gated ones need `hf auth login`); packaged models: "
            f"{', '.join(packaged_models())}"
        ) from error
    except HfHubHTTPError as error:
        raise ConnectionError(
            f"model {repo!r}: the Hugging Face Hub answered with an error: {error}"
        ) from error
    return ModelFiles(config, weights, optional("segrid.json"))
