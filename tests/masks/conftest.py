"""The test hooks of the mask kernels, with the best implementations and with the definitions."""

import pytest

from tests import building_blocks


@pytest.fixture(scope="session")
def kernels():
    return building_blocks.kernels


@pytest.fixture(params=["auto", "plain"])
def each_kernel(request, kernels):
    """Runs the test with the best implementations and with the definitions."""
    from segrid import _core

    _core.force_kernels(request.param)
    yield request.param
    _core.force_kernels("auto")
