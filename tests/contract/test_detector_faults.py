"""Bad inputs of `Detector` (rows 7, 25, 26 and 40 of the bad inputs in tests/README.md), damaged
files, and a Python without transformers."""

import subprocess
import sys

import numpy as np
import pytest
import segrid
import torch

from tests import models
from tests.reference.detector_inputs import PROMPTS, noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.no_grad():
        return models.owlv2.make("small", tmp_path_factory.mktemp("detector-faults"))


@pytest.fixture(scope="module")
def small(folder):
    return segrid.Detector(folder, precision="fp32")


@pytest.fixture(scope="module")
def image():
    return noise(3)


def test_row_25_prompts(small, image):
    detect = small.detect
    twice = detect(image, ["nuclei", "nuclei"], threshold=0)
    assert set(twice.class_id) == {0}  # The first of equal prompts gets the boxes.
    for empty in ("", "  ", [""], ["ok", "\t"]):
        with pytest.raises(ValueError, match=r"prompts\[\d\]: empty"):
            detect(image, empty)
    with pytest.raises(ValueError, match="prompts: none given"):
        detect(image, [])
    with pytest.raises(ValueError, match=r"prompts\[1\]: an empty list of synonyms"):
        detect(image, ["x", []])
    with pytest.raises(ValueError, match="expected text, got int"):
        detect(image, [3])
    with pytest.warns(UserWarning, match=r"prompt 'red red.*tokens, the model reads 16"):
        cut = detect(image, "red " * 40, threshold=0)
    np.testing.assert_array_equal(cut.scores, detect(image, "red " * 14, threshold=0).scores)
    for odd in ("🐈 猫", "שלום", "a\0b", "é" * 5):
        assert len(detect(image, odd, threshold=0)) > 0
    with pytest.raises(ValueError, match="half a character"):
        detect(image, "\ud800")
    with pytest.raises(ValueError, match="at most 10000 prompts"):
        detect(image, ["a"] * 10_001)
    with pytest.raises(ValueError, match="characters; the limit"):
        detect(image, "a" * 20_000)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": float("nan")},
        {"threshold": 1.1},
        {"threshold": -0.1},
        {"nms": float("nan")},
        {"nms": 2},
    ],
)
def test_row_26_thresholds(small, image, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: must be from 0 to 1"):
        small.detect(image, "a", **options)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2000, 4)])
def test_row_7_shapes(small, size):
    found = small.detect(np.full((*size, 3), 90, np.uint8), PROMPTS, threshold=0)
    assert np.isfinite(found.boxes).all() and found.size == size


def test_images_are_checked(small):
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        small.detect("nowhere.png", "a")
    with pytest.raises(ValueError, match="NaN"):
        small.detect(np.full((4, 4, 3), np.nan), "a")
    with pytest.raises(ValueError, match="batch_size"):
        small.detect([], "a", batch_size=0)


def test_files_are_checked(folder, small, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(NotImplementedError, match="not a detector of this build"):
        segrid.Detector("tiny")
    with pytest.raises(NotImplementedError, match="segrid.Detector loads this one"):
        segrid.Segmenter(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    # The tokenizer is vocab.json and merges.txt.
    same = segrid.Detector(copy, precision="fp32").detect(noise(3), PROMPTS)
    np.testing.assert_array_equal(same.scores, small.detect(noise(3), PROMPTS).scores)
    (copy / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match="neither tokenizer.json nor vocab.json"):
        segrid.Detector(copy).detect(noise(3), "a")
    (copy / "tokenizer.json").write_text("{]")
    with pytest.raises(segrid.CorruptFileError, match="tokenizer"):
        segrid.Detector(copy).detect(noise(3), "a")
    weights = load_file(copy / "model.safetensors")
    weights.pop("box_head.dense1.bias")
    weights["layer_norm.weight"] = weights["layer_norm.weight"][:-1].contiguous()
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(
        segrid.CorruptFileError, match=r"(?s)box_head.dense1.bias.*layer_norm.weight"
    ):
        segrid.Detector(copy)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    with torch.no_grad():
        return models.owlv2.make("slow", tmp_path_factory.mktemp("slow"))


INTERRUPTED = """
import signal, sys, threading, time, os
import numpy as np, segrid
signal.signal(signal.SIGINT, signal.default_int_handler)
detector = segrid.Detector(sys.argv[1], precision="fp32")
call = {
    "detect": lambda: detector.detect(image, "a", threshold=1),
    "pipeline": lambda: segrid.Pipeline(detector, "tiny")(image, "a", threshold=1),
    "callable": lambda: segrid.Pipeline(lambda array: time.sleep(9), "tiny")(image),
}[sys.argv[2]]
image = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
began = time.perf_counter()
try:
    call()
    print("ended by itself", time.perf_counter() - began)
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - began - 0.4)
print(len(detector.detect(image[:8, :8], "a", threshold=1)))
"""


@pytest.mark.parametrize("what", ["detect", "pipeline", "callable"])
def test_row_40_ctrl_c(slow, what):
    """A call of several seconds returns soon after Ctrl-C, and the model works afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(slow), what],
        capture_output=True,
        text=True,
        timeout=300,
    )
    word, seconds = done.stdout.split("\n")[0].rsplit(" ", 1)
    assert word == "interrupted" and float(seconds) < 0.6, done.stdout + done.stderr
    assert done.stdout.split("\n")[1] == "0"


def test_transformers_is_not_needed(folder):
    code = (
        "import sys, numpy as np\nsys.modules['transformers'] = None\nimport segrid\n"
        "detector = segrid.Detector(sys.argv[1])\n"
        "print(len(detector.detect(np.zeros((9, 9, 3), np.uint8), 'a cat', threshold=0)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.stdout.strip() == "64", done.stderr


@pytest.mark.parametrize("name", ["threshold", "nms"])
@pytest.mark.parametrize("value", [[0.1, 0.2], np.array([0.1]), "0.1"])
def test_a_threshold_is_one_number(small, image, tiny, name, value):
    pipeline = segrid.Pipeline(small, tiny)
    more = "no thresholds for single prompts" if not isinstance(value, str) else "got '0.1'"
    for call in (small.detect, pipeline):
        with pytest.raises(TypeError, match=f"{name}: expected one number .*{more}"):
            call(image, PROMPTS, **{name: value})
    if name == "threshold":
        with pytest.raises(TypeError, match="threshold: expected one number"):
            small.patch_boxes(image, PROMPTS, threshold=value)
    small.detect(image, PROMPTS, **{name: np.array(0.2)})  # an array without axes is a number


def test_a_threshold_of_sowlv2_is_a_number():
    from segrid.compat.sowlv2 import PipelineBaseData, SOWLv2Pipeline

    with pytest.raises(TypeError, match="threshold: expected one number from 0 to 1, got '0.1'"):
        SOWLv2Pipeline(PipelineBaseData("no-such-model", threshold="0.1"))
