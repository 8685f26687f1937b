"""Links, in a folder, those installed packages that the machine with a GPU has, too, and no others:
python scripts/gpu_packages.py FOLDER. The names stand in gpu_packages.txt."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def normal(name):
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(folder):
    listed = Path(__file__).with_suffix(".txt").read_text()
    names = " ".join(line for line in listed.splitlines() if not line.startswith("#")).split()
    there = {normal(name) for name in names}
    for package in distributions():
        if normal(package.metadata["Name"]) not in there:
            continue
        tops = {file.parts[0] for file in package.files or () if ".." not in file.parts}
        for top in tops - {"__pycache__"}:
            source, target = Path(package.locate_file(top)), Path(folder) / top
            if not target.exists():
                target.symlink_to(source.resolve())


if __name__ == "__main__":
    main(sys.argv[1])
