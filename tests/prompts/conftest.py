"""The test hooks of the prompts."""

import pytest


@pytest.fixture(scope="session")
def kernels():
    from segrid import _core

    return _core._kernels
