"""The prompt building blocks under test, and the NumPy definitions in tests/reference."""

import importlib.util
import sys
from pathlib import Path

import building_blocks
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def kernels():
    return building_blocks.kernels


@pytest.fixture(scope="session")
def amg():
    """segment_anything.utils.amg by its path: importing the package would need torchvision."""
    pytest.importorskip("torch")
    package = importlib.util.find_spec("segment_anything")
    if package is None:
        pytest.skip("segment-anything is not installed")
    path = Path(package.submodule_search_locations[0]) / "utils" / "amg.py"
    spec = importlib.util.spec_from_file_location("segment_anything_amg", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
