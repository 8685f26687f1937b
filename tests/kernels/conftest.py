import pytest
from segrid import _core


@pytest.fixture(params=["auto", "avx2", "plain"])
def kernels(request):
    """The test hooks: with the best implementations of this CPU, with those for AVX2, and with the definitions."""
    if request.param == "avx2" and not _core.cpu_features()["avx2"]:
        pytest.skip("no AVX2 here")
    _core.force_kernels(request.param)
    yield _core._kernels
    _core.force_kernels("auto")
