"""Turns the originals' checkpoint files into a Segmenter or a Tracker, and back."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import segrid
from segrid._native import CorruptFileError
from segrid.convert import ORIGINAL_RULES, convert
from segrid.convert.names import original_names

PICKLED = (".pt", ".pth")
# Changes when the converter produces something else from the same weights.
VERSION = b"3"


def load(
    checkpoint: str | os.PathLike[str], device: str, kind: Any = segrid.Segmenter, **options: Any
) -> Any:
    """Loads an original checkpoint (as weights only, converted once into a cache): a .pt or .pth
    file, or a file of any other name but .safetensors. Or a model folder, or a Hugging Face id.

    kind, options : the class that is made (Segmenter or Tracker), and its further arguments"""
    path = Path(checkpoint)
    is_other = path.suffix == ".safetensors" or not path.is_file()
    if path.is_dir() or (path.suffix not in PICKLED and is_other):
        return kind(checkpoint, precision="fp32", device=device, **options)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    digest = hashlib.sha256(VERSION)
    for file in (path, path.parent / "config.json"):
        if file.exists():
            _add(digest, file)
    folder = cache() / f"{path.stem}-{digest.hexdigest()[:16]}"
    try:
        if folder.exists():
            return kind(folder, precision="fp32", device=device, **options)
    except (CorruptFileError, FileNotFoundError):  # Files were cut off or removed: make them again.
        shutil.rmtree(folder, ignore_errors=True)
    fill(folder, lambda fresh: convert(path, fresh))
    return kind(folder, precision="fp32", device=device, **options)


def weights_of(
    segmenter: segrid.Segmenter, beginning: str = "", ending: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yields (name, tensor on the CPU) of each tensor whose name has this beginning and ending, one
    by one from the segmenter's file. SAM and MobileSAM tensors have the names of the original
    checkpoint, others those of transformers.

    Raises NotImplementedError for a model that is saved in int8."""
    from safetensors import safe_open

    with safe_open(segmenter._files.weights, framework="pt") as file:
        names = list(file.keys())
        rules = ORIGINAL_RULES.get(segmenter.family, [])
        to = original_names(names, rules) if rules else {name: name for name in names}
        # Tied weights may be stored under several names.
        once = {to[name]: name for name in names if name in to}
        for original, name in once.items():
            if not (original.startswith(beginning) and original.endswith(ending)):
                continue
            if file.get_slice(name).get_dtype() == "I8":
                raise NotImplementedError(
                    f"{segmenter._files.weights}: holds int8 weights, which cannot be an original "
                    "model's parameters"
                )
            yield original, file.get_tensor(name)


def cache() -> Path:
    """Returns the folder of converted checkpoints, in SEGRID_CACHE if it is set, else in segrid/ of
    the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SEGRID_CACHE") or Path(home) / "segrid") / "converted"


def fill(folder: Path, write: Callable[[Path], Any]) -> None:
    """Makes a folder of the cache, whole or not at all, unless another process is faster.

    write : writes its files into a folder that it gets"""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        write(fresh)
        os.replace(fresh, folder)
    except OSError:
        if not (folder / "config.json").exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _add(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
