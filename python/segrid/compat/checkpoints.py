"""From what those libraries load (an original checkpoint) to a Segmenter."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import segrid
from segrid.convert import convert

PICKLED = (".pt", ".pth")


def load(checkpoint: str | os.PathLike[str], device: str) -> segrid.Segmenter:
    """A Segmenter for an original .pt or .pth file (converted once into a cache, as weights only), a model folder or a Hugging Face id."""
    path = Path(checkpoint)
    if path.suffix not in PICKLED:
        return segrid.Segmenter(checkpoint, precision="fp32", device=device)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    folder = cache() / _digest(path)
    if not (folder / "config.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = tempfile.mkdtemp(dir=folder.parent, prefix=".part-")
        try:
            convert(path, fresh)
            os.replace(fresh, folder)
        except OSError:
            if not (folder / "config.json").exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return segrid.Segmenter(folder, precision="fp32", device=device)


def cache() -> Path:
    """Where converted checkpoints lie: SEGRID_CACHE, else segrid/ in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SEGRID_CACHE") or Path(home) / "segrid") / "converted"


def _digest(path: Path) -> str:
    digest = hashlib.sha256(b"1")  # of the converter's version
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return f"{path.stem}-{digest.hexdigest()[:16]}"
