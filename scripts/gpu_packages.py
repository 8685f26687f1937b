"""Links, in a folder, those installed packages that the machine with a GPU has, too, and the NAMEs:
python scripts/gpu_packages.py FOLDER [NAME...]. What the machine has stands in gpu_packages.txt.
What these packages require is linked with them, because here they have other versions, with other
requirements."""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def main(folder, *more):
    listed = Path(__file__).with_suffix(".txt").read_text()
    lines = (line for line in listed.splitlines() if not line.startswith("#"))
    names, seen = [*" ".join(lines).split(), *more], set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # The machine has more than this environment.
        needed = map(Requirement, package.requires or ())
        names += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
        tops = {file.parts[0] for file in package.files or () if ".." not in file.parts}
        for top in tops - {"__pycache__"}:
            target = Path(folder) / top
            if not target.exists():
                target.symlink_to(Path(package.locate_file(top)).resolve())


if __name__ == "__main__":
    main(*sys.argv[1:])
