"""The test hooks of the mask kernels, with the best implementations and with the definitions."""

import pytest


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
