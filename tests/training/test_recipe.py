"""The recipe of the packaged models, up to its first step."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("minutes, good", [("1.5", True), ("", False), ("0", False), ("x", False)])
def test_minutes_are_checked_before_hours_of_training(minutes, good, tmp_path):
    """The last training takes half of them."""
    python = tmp_path / "python"  # ends every module, and runs what is no module
    python.write_text('#!/bin/sh\n[ "$1" = -m ] && exit 7\nexec python3 "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["sh", "training/make_model.sh", tmp_path, tmp_path / "run", minutes],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == (7 if good else 2)
    assert good or f"MINUTES needs a number above 0, got '{minutes}'" in done.stderr
