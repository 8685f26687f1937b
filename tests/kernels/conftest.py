import pytest
from segrid import _core


@pytest.fixture(params=["auto", "plain"])
def kernels(request):
    """The test hooks, once with the implementations of this CPU and once with the definitions."""
    _core.force_kernels(request.param)
    yield _core._kernels
    _core.force_kernels("auto")
