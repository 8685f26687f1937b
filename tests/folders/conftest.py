"""Two folders of images, and the command `segrid batch`."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def batch():
    """batch(*arguments, **environment): runs `segrid batch` and returns the finished process."""

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "segrid", "batch", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Twelve good images in two folders, three bad ones, and a text file that is not an input."""
    root = tmp_path_factory.mktemp("batch") / "in"
    rng = np.random.default_rng(2)
    for i in range(12):
        target = root / ("a" if i % 2 else "b c") / f"field {i:02d}.{'png' if i % 3 else 'jpg'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90 + 3 * i, 70 + i), Image.BICUBIC).save(target)
    (root / "empty.png").write_bytes(b"")
    (root / "page.jpg").write_text("<html>not found</html>")
    whole = (root / "a/field 01.png").read_bytes()
    (root / "half.png").write_bytes(whole[: len(whole) // 2])
    (root / "notes.md").write_text("no image, and not named like one")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six images of two views; their names end in Front or side."""
    root = tmp_path_factory.mktemp("views") / "in"
    root.mkdir()
    rng = np.random.default_rng(4)
    for i in range(6):
        small = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90, 70), Image.BICUBIC).save(
            root / f"p{i}_{'Front' if i % 2 else 'side'}.png"
        )
    return root
