"""Turns folders, patterns and lists into images with names."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from segrid._files import free_name
from segrid.folders.walk import Results, images_below, is_broken_link, is_locked
from segrid.image_files.formats import ENDINGS


@dataclass(frozen=True)
class Input:
    """An image file.

    key : its path relative to the folder that all inputs share, with slashes
    stem : the name of its outputs

    Both follow from the inputs alone."""

    path: Path
    key: str
    stem: str


def collect(
    inputs: list[str],
    output: Path | None = None,
    *,
    kinds: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> list[Input]:
    """Returns the images of folders (with their subfolders), patterns (`*`, `**`), list files
    (.txt) and single files, sorted by key.

    Keys are paths relative to the folder of a single input, or to the deepest folder that holds all
    of several inputs. The outputs of a.png and a.jpg keep the ending in their names. Files that
    segrid wrote are not inputs (see `Results`).

    output, kinds : the output folder of this run, and the folders it makes there
    exclude : images whose names without their ending end with one of these texts are left out

    Raises FileNotFoundError for an input that does not exist, for a folder, pattern or list without
    images, and if `exclude` leaves no image; ValueError for a list that is not UTF-8."""
    results, endings = Results(output, kinds), tuple(exclude)
    paths: dict[Path, None] = {}
    roots: list[str] = []
    for text in inputs:
        folders, files = _expanded(text, results)
        if not files:
            raise FileNotFoundError(f"{text}: no images ({', '.join(ENDINGS)})")
        kept = [f for f in files if not (endings and f.stem.endswith(endings))]
        roots += [os.path.abspath(folder) for folder in folders if kept]
        paths |= dict.fromkeys(Path(os.path.abspath(f)) for f in kept)
    if not paths:
        raise FileNotFoundError(
            f"{', '.join(inputs)}: all images have names that end in "
            f"{' or '.join(endings)}; such images are left out"
        )
    root = os.path.commonpath(roots)
    return _named({path.relative_to(root).as_posix(): path for path in paths})


def _named(keyed: dict[str, Path]) -> list[Input]:
    stems = Counter(str(PurePosixPath(key).with_suffix("")) for key in keyed)
    taken: dict[str, int] = {}
    out = []
    for key, path in sorted(keyed.items()):
        short = str(PurePosixPath(key).with_suffix(""))
        names = [short, key] if stems[short] == 1 else [key]
        out.append(Input(path, key, free_name(names, taken)))
    return out


def _expanded(text: str, results: Results) -> tuple[list[Path], list[Path]]:
    """Returns the folders that names are relative to, and the files, of one input."""
    path = Path(text)
    if path.is_dir():
        return [path], images_below(path, results)
    if path.suffix.lower() == ".txt" and path.is_file():
        listed = [path.parent / line for line in read_list(path)]
        return [file.parent for file in listed], listed
    if glob.has_magic(text) and not os.path.lexists(text):
        fixed = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = map(Path, sorted(glob.glob(text, recursive=True)))
        return [fixed], [
            p
            for p in matches
            if (os.path.isfile(p) or is_broken_link(p) or is_locked(p))
            and not results.hold(p, fixed)
        ]
    if not os.path.lexists(text):
        raise FileNotFoundError(f"{text}: no such file, folder or pattern")
    return [path.parent], [path]


def read_list(path: Path) -> list[str]:
    """Returns the paths in a list file, one per line. Empty lines and lines that begin with # are
    skipped.

    A byte order mark, the line ends of every system, and names that are not UTF-8 are accepted.
    Raises ValueError for UTF-16 and UTF-32, and OSError."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise ValueError(
            f"{path}: a list must be UTF-8 text, this one is UTF-16 or binary; save it as UTF-8"
        )
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    return [line for line in lines if line and not line.startswith("#")]
