"""Finds the images of a folder, without files that belong to the system or that segrid wrote."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from segrid.folders.manifest import options_of
from segrid.folders.writers import WRITERS
from segrid.image_files.formats import ENDINGS


class Results:
    """The files that segrid wrote below an input folder, in this or an earlier run.

    A folder with a manifest holds results, and nothing in it is an image. There is one exception:
    results may lie beside the images, if the folder is itself the input or its manifest names an
    output suffix. Then only the writers' folders in it, and files whose names end with the suffix,
    are results."""

    def __init__(self, output: Path | None = None, kinds: Iterable[str] = ()) -> None:
        self._output = None if output is None else os.path.realpath(output)
        self._kinds = frozenset(kinds)
        self._options = cache(options_of)

    def fill(self, folder: Path) -> bool:
        """Whether a folder below an input holds only results."""
        if folder.name in self._kinds_in(folder.parent):
            return True
        options = self._options(folder)
        return self._is_output(folder) or (options is not None and "output_suffix" not in options)

    def hold(self, file: Path, root: Path) -> bool:
        """Whether a file below the input folder `root` is a result or belongs to the system."""
        between = [folder for folder in file.parents if folder != root and root in folder.parents]
        return (
            is_litter(file.name)
            or any(is_litter(f.name) or self.fill(f) for f in between)
            or any(self.is_suffixed(file.name, folder) for folder in [*between, root])
        )

    def is_suffixed(self, name: str, folder: Path) -> bool:
        """Whether a name ends with the output suffix of the folder's manifest."""
        suffix = (self._options(folder) or {}).get("output_suffix")
        return isinstance(suffix, str) and Path(name).stem.endswith(suffix)

    def _is_output(self, folder: Path) -> bool:
        return self._output is not None and os.path.realpath(folder) == self._output

    def _kinds_in(self, folder: Path) -> frozenset[str]:
        """Returns the names of the folders that writers make in a folder."""
        written = (self._options(folder) or {}).get("write")
        # The manifest may come from another program, so its content is checked.
        names = written if isinstance(written, list) else []
        here = frozenset(WRITERS[n].kind for n in names if isinstance(n, str) and n in WRITERS)
        return here | self._kinds if self._is_output(folder) else here


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden or belongs to the system: .ipynb_checkpoints, ._a.jpg,
    __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"


def is_broken_link(path: str | os.PathLike[str]) -> bool:
    """Whether the path is a link to something that does not exist, or to itself."""
    return os.path.islink(path) and not os.path.exists(path) and not is_locked(path)


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether the path cannot be examined because it is, or links to something, in a folder that
    may not be searched."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def images_below(root: Path, results: Results) -> list[Path]:
    """Returns the files in a folder and its subfolders that are named like images.

    Links to folders are followed after the folders that are not links, so that each folder is read
    once. A link to a folder that was already read is skipped with a UserWarning, and so is a broken
    link that is not named like an image. Broken links named like images, and folders and links that
    may not be read, are in the list, so that reading them gives an error."""
    found: list[Path] = []
    seen: dict[tuple[int, int], Path] = {}
    # Each folder with its parents.
    folders: deque[tuple[Path, tuple[Path, ...]]] = deque([(root, ())])
    links: deque[tuple[Path, tuple[Path, ...]]] = deque()
    while folders or links:
        folder, above = (folders or links).popleft()
        try:
            # The "." also checks whether the folder may be searched.
            about = os.stat(os.path.join(folder, "."))
            names = sorted(os.listdir(folder))
        except OSError:
            found.append(folder)
            continue
        if (known := seen.setdefault((about.st_dev, about.st_ino), folder)) is not folder:
            warnings.warn(
                f"{folder}: a link to a folder that is read already ({known})",
                UserWarning,
                stacklevel=3,
            )
            continue
        inside = (*above, folder)
        for path in (folder / name for name in names if not is_litter(name)):
            if os.path.isdir(path):
                if not results.fill(path):
                    (links if path.is_symlink() else folders).append((path, inside))
            elif is_locked(path):
                found.append(path)
            elif path.suffix.lower() in ENDINGS:
                if (os.path.isfile(path) or is_broken_link(path)) and not any(
                    results.is_suffixed(path.name, one) for one in inside
                ):
                    found.append(path)
            elif is_broken_link(path):
                warnings.warn(
                    f"{path}: a broken link (to {os.readlink(path)})", UserWarning, stacklevel=3
                )
    return found
