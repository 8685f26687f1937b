import pytest
from segrid import _core

from tests import building_blocks


@pytest.fixture(params=["auto", "avx2", "plain"])
def kernels(request):
    """The test hooks, with the best implementations of this CPU, with those for AVX2, and with the
    definitions. A test may name others by parametrize(..., indirect=True)."""
    try:
        _core.force_kernels(request.param)
    except ValueError:
        pytest.skip(f"no {request.param} here")
    yield building_blocks.kernels
    _core.force_kernels("auto")
