"""The engine's building blocks, one by one, for tests and benchmarks.

They are the module `_kernels` (tests/bindings), which a wheel does not carry. It lies in the shared
object of segrid._core, so that forced kernels and the thread budget of the one hold for the other.
"""

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader

from segrid._native import _core


def _load():
    loader = ExtensionFileLoader("_kernels", _core.__file__)
    try:
        module = module_from_spec(spec_from_loader("_kernels", loader))
    except ImportError as error:
        raise ImportError(
            f"{_core.__file__} was built without the test bindings: run `make test`, or install "
            "with `pip install --no-build-isolation -C cmake.define.SEGRID_TESTS=ON .`"
        ) from error
    loader.exec_module(module)
    return module


kernels = _load()
