"""A fresh Python process for code that must not run in this one."""

import os
import subprocess
import sys

import pytest

PRELUDE = """
import numpy as np, os, sys, threading, time, segrid, skimage.data
image = np.repeat(skimage.data.coins()[:, :, None], 3, 2)
model = segrid.Segmenter("tiny")
"""


@pytest.fixture(scope="session")
def python():
    """python(code, timeout=60, **environment): runs the code after PRELUDE in a fresh process, and
    returns its standard output."""

    def run(code, timeout=60, **environment):
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + code],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    return run
