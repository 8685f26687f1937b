"""The test hooks of the prompts."""

import pytest

from tests import building_blocks


@pytest.fixture(scope="session")
def kernels():
    return building_blocks.kernels
