"""Prints the folder of the installed torch without importing it. Exits with a message if there is
none, or if its minor version differs."""

import os
import re
import site
import sys
import sysconfig
from pathlib import Path

SUPPORTED = ("2.11", "2.12", "2.13")


def candidates():
    """Site-packages folders: this interpreter's, and under build isolation those of the environment
    that runs the build."""
    folders = [*sys.path, sysconfig.get_path("purelib"), *site.getsitepackages()]
    for variable in ("SEGRID_TORCH_SITE", "VIRTUAL_ENV", "CONDA_PREFIX"):
        root = os.environ.get(variable)
        if root:
            folders += [root, *(str(p) for p in Path(root).glob("lib/python3*/site-packages"))]
    # pip's build environments are overlays. Their python is a link into the real environment, or is
    # the real one itself.
    real = Path(sys.executable).parent.parent
    folders += [str(p) for p in real.glob("lib/python3*/site-packages")]
    return [Path(f) for f in folders if f]


def main():
    for folder in candidates():
        root = folder / "torch"
        if (root / "lib" / "libtorch_cpu.so").exists() and (root / "version.py").exists():
            version = re.search(
                r"__version__ = '([^']+)'", (root / "version.py").read_text()
            ).group(1)
            if not version.startswith(tuple(f"{v}." for v in SUPPORTED)):
                sys.exit(
                    f"segrid builds against torch {', '.join(SUPPORTED)}; found {version} in "
                    f"{root}. "
                    "Install the pinned one: pip install torch==2.13.0"
                )
            print(root)
            return
    sys.exit(
        "segrid: torch is not installed in this environment. Install it first: "
        "pip install torch==2.13.0, "
        "then build again (torch is linked, not bundled)."
    )


main()
