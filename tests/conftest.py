"""What all tests share."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads do not spin against others on a busy machine

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ holds the random models and the stand-in for torchvision


@pytest.fixture(scope="session")
def tiny():
    """The packaged model."""
    import segrid

    return segrid.Segmenter("tiny")


@pytest.fixture
def four_threads():
    """A budget of four, on machines with fewer CPUs, too."""
    import segrid

    before = segrid.threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        segrid.set_threads(4)
    yield
    segrid.set_threads(before)


@pytest.fixture(scope="session")
def cut():
    """cut(scores, least=6, most=24): a threshold that keeps so many of a random model's scores, and not all, whatever weights this machine's torch makes of
    the seed: in the middle of the widest gap, so that no rounding decides."""

    def threshold(scores, least=6, most=24):
        falling = np.sort(np.asarray(scores, np.float64))[::-1]
        keep = np.arange(least, min(most + 1, len(falling)))
        widest = keep[np.argmax(falling[keep - 1] - falling[keep])]
        return float(falling[widest - 1] + falling[widest]) / 2

    return threshold


@pytest.fixture(scope="session")
def coins():
    """(303, 384, 3) uint8."""
    import skimage.data

    return np.repeat(skimage.data.coins()[:, :, None], 3, axis=2)
