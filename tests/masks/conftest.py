"""The mask kernels under test, and the NumPy definitions in tests/reference."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def kernels():
    from segrid import _core

    return _core._kernels


@pytest.fixture(params=["auto", "plain"])
def each_kernel(request, kernels):
    """Runs the test with the best implementations and with the definitions."""
    from segrid import _core

    _core.force_kernels(request.param)
    yield request.param
    _core.force_kernels("auto")
