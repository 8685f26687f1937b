"""Fixtures of all tests: devices, the fake device, the packaged model, threads, thresholds."""

import ctypes
import functools
import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

# Tests run on the CPU even where there is a GPU. A test of the GPU is marked `cuda` and names it.
os.environ["SEGRID_DEVICE"] = "cpu"
# On a busy machine, torch's waiting threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parents[1]

# The files that take longest begin first. Else one process ends with them, and the other waits.
LONGEST = (
    "compat/test_sam2_notebooks.py",
    "contract/test_device_memory.py",
    "serve/test_ray.py",
    "compat/test_transformers_names.py",
    "folders/test_tune.py",
    "contract/test_image_batches.py",
    "training/test_video.py",
    "folders/test_on_ray.py",
    "training/test_smoke.py",
    "training/test_detector_training.py",
    "serve/test_masks_of_a_live_server.py",
    "test_gpu_check.py",
    "notebooks/test_notebooks.py",
)

# The devices of tests (tests/README.md): the CPU's kernels, the plain definitions on the CPU, the
# fake device of tests/cpp/fake_device.cpp, and CUDA.
PLAIN_DEVICES = ["cpu-plain", "fake", pytest.param("cuda", marks=pytest.mark.cuda)]
DEVICES = ["cpu", *PLAIN_DEVICES]
FAKE = ROOT / "build/tests/tests/cpp/libfake_device.so"


@functools.cache
def fake_device():
    """The functions that control the fake device."""
    import segrid._native  # noqa: F401  (it is torch's, whose libraries come with the engine)

    if not FAKE.exists():
        pytest.skip(f"{FAKE.relative_to(ROOT)} is not built (make test does)")
    library = ctypes.CDLL(str(FAKE))
    for name in (
        "fake_held",
        "fake_emptied",
        "fake_copied_back",
        "fake_threads",
        "fake_convolutions",
        "fake_stream_copies",
    ):
        getattr(library, name).restype = ctypes.c_int64
    for name in ("fake_limit", "fake_lie", "fake_cache", "fake_from_cublas"):
        getattr(library, name).argtypes = [ctypes.c_int64]
    return library


def pytest_collection_modifyitems(items):
    place = {ROOT / "tests" / name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_terminal_summary(terminalreporter):
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "no CUDA device" in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests need a CUDA device (`pytest -m cuda` lists them)"
        )


def _there(name):
    if name == "fake":
        fake_device()
    return name


@pytest.fixture(scope="session", params=DEVICES)
def device(request):
    return _there(request.param)


@pytest.fixture(scope="session", params=PLAIN_DEVICES)
def plain_device(request):
    return _there(request.param)


@pytest.fixture
def fake():
    """The fake device with 2 GiB of memory; a test may set another limit."""
    library = fake_device()
    yield library
    library.fake_limit(2 << 30)
    for name in ("fake_lie", "fake_cache", "fake_from_cublas"):
        getattr(library, name)(0)


@pytest.fixture(scope="session")
def tiny():
    """The packaged model."""
    import segrid

    return segrid.Segmenter("tiny")


@pytest.fixture
def four_threads():
    """A budget of four threads, also on machines with fewer CPUs."""
    import segrid

    before = segrid.threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        segrid.set_threads(4)
    yield
    segrid.set_threads(before)


@pytest.fixture(scope="session")
def cut():
    """cut(scores, least=6, most=24): a threshold that keeps from `least` to `most` of a random
    model's scores. It is the middle of the widest gap between scores, so that rounding decides
    nothing. A fixed threshold would not do: the random weights depend on the machine's torch."""

    def threshold(scores, least=6, most=24):
        falling = np.sort(np.asarray(scores, np.float64))[::-1]
        keep = np.arange(least, min(most + 1, len(falling)))
        widest = keep[np.argmax(falling[keep - 1] - falling[keep])]
        return float(falling[widest - 1] + falling[widest]) / 2

    return threshold


@pytest.fixture(scope="session")
def coins():
    """scikit-image's photo of coins, (303, 384, 3) uint8."""
    import skimage.data

    return np.repeat(skimage.data.coins()[:, :, None], 3, axis=2)


@pytest.fixture(scope="session")
def amg():
    """segment_anything.utils.amg, loaded from its file: importing the package needs torchvision."""
    pytest.importorskip("torch")
    package = importlib.util.find_spec("segment_anything")
    if package is None:
        pytest.skip("segment-anything is not installed")
    path = Path(package.submodule_search_locations[0]) / "utils" / "amg.py"
    spec = importlib.util.spec_from_file_location("segment_anything_amg", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
