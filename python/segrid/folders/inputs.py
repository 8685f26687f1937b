"""From folders, patterns and lists to images with names."""

from __future__ import annotations

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


@dataclass(frozen=True)
class Input:
    """An image file; key: its name among the inputs (a path with slashes); stem: that of its outputs. Both follow from the inputs alone."""

    path: Path
    key: str
    stem: str


def collect(inputs: list[str], but: Path | None = None) -> list[Input]:
    """Images of folders (with all below them), patterns (`*`, `**`), list files (.txt: a path a line, from the list's folder) and files, sorted by key. Two of
    the same key become a.png and a.png-2; outputs of a.png and a.jpg keep the ending. What lies below `but` (the output folder) is no input.

    Raises FileNotFoundError for an input that is not there, or a folder, pattern or list without images.
    """
    named: dict[Path, str] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = {p: p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.suffix.lower() in IMAGES and p.is_file()}
        elif path.suffix.lower() == ".txt" and path.is_file():
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
            found = {path.parent / line: PurePosixPath(line).name for line in lines if line and not line.startswith("#")}
        elif glob.has_magic(text) and not path.exists():
            found = {p: p.name for p in map(Path, sorted(glob.glob(text, recursive=True))) if p.is_file()}
        else:
            if not path.exists():
                raise FileNotFoundError(f"{text}: no such file, folder or pattern")
            found = {path: path.name}
        if not found:
            raise FileNotFoundError(f"{text}: no images ({', '.join(IMAGES)})")
        for p, key in found.items():
            if but is None or not Path(os.path.realpath(p)).is_relative_to(os.path.realpath(but)):
                named.setdefault(Path(os.path.abspath(p)), key)
    seen: Counter[str] = Counter()
    keyed: list[tuple[str, Path]] = []
    for p, key in named.items():
        seen[key] += 1
        keyed.append((key if seen[key] == 1 else f"{key}-{seen[key]}", p))
    stems = Counter(str(PurePosixPath(key).with_suffix("")) for key, _ in keyed)
    taken: set[str] = set()
    out = []
    for key, p in sorted(keyed):
        short = str(PurePosixPath(key).with_suffix(""))
        stem = next(s for s in ([short] if stems[short] == 1 else []) + [key, *(f"{key}-{n}" for n in range(2, len(keyed) + 3))] if s not in taken)
        taken.add(stem)
        out.append(Input(p, key, stem))
    return out
