"""The prompt building blocks under test, and the NumPy definitions in tests/reference."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def kernels():
    from segrid import _core

    return _core._kernels
