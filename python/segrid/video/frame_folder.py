"""The images of a folder in the order of the video."""

from __future__ import annotations

import os
import re
from pathlib import Path

from segrid.image_files.formats import ENDINGS
from segrid.video.frame_lists import ListFrames


class FolderFrames(ListFrames):
    """Frames that are the images of one folder; messages name the file, too."""

    def __init__(self, folder: Path, long_side: int | None) -> None:
        self._files = ordered_images(folder)
        super().__init__(self._files, str(folder), long_side)

    def _place(self, index: int) -> str:
        name = self._files[index].name if index < len(self._files) else ""
        return f"{self.name}: frame {index} ({name})" if name else super()._place(index)


def ordered_images(folder: Path) -> list[Path]:
    """Returns the images of a folder (not of its subfolders; hidden files are left out).

    Names that differ only in one number at their end, such as 00012.jpg or clip_12.png, are sorted
    by it. The numbers must have equal steps, as those of every frame or of every tenth. All other
    names are sorted with the numbers in them compared as numbers.

    Raises ValueError for a folder without images, for a missing number and for one that is there
    twice, with the file's name; OSError.
    """
    files = [
        folder / name
        for name in os.listdir(folder)
        if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS
    ]
    files = [file for file in files if not file.is_dir()]
    if not files:
        raise ValueError(f"{folder}: no images ({', '.join(ENDINGS)}) in this folder")
    matches = [re.fullmatch(r"(.*?)(\d+)", file.stem, re.ASCII) for file in files]
    prefixes = {match and match[1] for match in matches}
    if len(prefixes) > 1 or None in prefixes:
        return sorted(files, key=_natural)
    numbered = sorted(
        (int(match[2]), file) for match, file in zip(matches, files, strict=True) if match
    )
    _check_steps(numbered)
    return [file for _, file in numbered]


def _check_steps(numbered: list[tuple[int, Path]]) -> None:
    pairs = list(zip(numbered, numbered[1:], strict=False))
    for (number, file), (following, other) in pairs:
        if number == following:
            raise ValueError(
                f"{other}: has the number {number}, as has {file.name}; a frame needs one file"
            )
    step = min((b - a for (a, _), (b, _) in pairs), default=1)
    for (number, file), (following, other) in pairs:
        if following - number != step:
            digits = re.search(r"\d+$", file.stem)
            width = len(digits[0]) if digits else 0
            missing = f"{file.stem[: len(file.stem) - width]}{number + step:0{width}d}{file.suffix}"
            raise ValueError(
                f"{file.parent / missing}: this frame is missing; after {file.name} comes "
                f"{other.name}. Add the file, or pass the list of files that are the video"
            )


def _natural(file: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A key that compares runs of digits as numbers."""
    parts = re.findall(r"\d+|\D+", file.name, re.ASCII)
    return [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts], file.name
