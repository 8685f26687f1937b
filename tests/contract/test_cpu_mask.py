"""SEGRID_CPU: a process computes as on a CPU with fewer instructions (row 37 in
tests/README.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import segrid
from segrid import _core

LEVELS = ["plain", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "amx"]
PROBE = """
import json, warnings
import segrid
from segrid import _core
model = segrid.Segmenter("tiny")
import torch
print(json.dumps({"features": _core.cpu_features(), "mask": _core.cpu_mask(),
                  "precision": model.precision,
                  "kernels": {c["op"]: c["available"] for c in _core.kernel_choices()},
                  "torch": torch.backends.cpu.get_cpu_capability()}))
"""


def run(level, *command):
    environment = {**os.environ, "SEGRID_CPU": level}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True
    )


def levels_here():
    """The levels of the CPU itself, even where this process is masked."""
    features, masked = _core.cpu_features(), _core.cpu_mask()["masked"]
    return [level for level in LEVELS if level == "plain" or features[level] or level in masked]


def narrow_choice():
    """What the packaged model's table allows a CPU with AVX2 and no VNNI."""
    settings = Path(segrid.__file__).parent / "models/tiny/segrid.json"
    row = json.loads(settings.read_text())["precision"].get("int8-narrow")
    fits = row and row["iou_mean"] >= 0.98 and row["ap50_loss"] <= 0.01
    return "int8" if fits else "fp32"


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_hides_the_instructions_above_it(level):
    if level not in levels_here():
        refused = run(level, "-c", PROBE)
        assert (
            refused.returncode == 1
            and f"SEGRID_CPU='{level}': this CPU has no such instructions" in refused.stderr
        )
        return
    found = run(level, "-c", PROBE)
    assert found.returncode == 0, found.stderr
    seen = json.loads(found.stdout)
    here = levels_here()
    assert seen["mask"] == {"level": level, "masked": here[here.index(level) + 1 :]}
    assert [name for name in LEVELS[1:] if seen["features"][name]] == here[
        1 : here.index(level) + 1
    ]
    if level == "avx2":
        assert seen["torch"] == "AVX2"  # ATen's own kernels are masked, too.
        assert not any(
            "512" in name or name == "brgemm"
            for names in seen["kernels"].values()
            for name in names
        )
        assert seen["precision"] == narrow_choice()
    if level == "avx_vnni":
        assert seen["torch"] == "AVX2" and "avxvnni" in seen["kernels"]["gemm_int8"]
        assert seen["precision"] == "int8"
    if level == "plain":
        # Tiled forms have no instructions of their own.
        assert not any(
            "avx" in name or name == "brgemm"
            for names in seen["kernels"].values()
            for name in names
        )


def test_an_unknown_level_is_refused_with_the_list_of_levels():
    refused = run("sse9", "-c", "import segrid; segrid.Segmenter('tiny')")
    assert refused.returncode == 1
    assert "ValueError: SEGRID_CPU='sse9': unknown; levels of this CPU are plain" in refused.stderr
    assert run("", "-c", "import segrid; segrid.threads()").returncode == 0


def test_kernels_that_are_not_there_are_refused_with_those_that_are():
    """A run that believes it forced other kernels would measure the usual ones."""
    for request in ("gem=plain", "gemm=sse9", "plaim"):
        refused = subprocess.run(
            [sys.executable, "-c", "import segrid; segrid.threads()"],
            env={**os.environ, "SEGRID_KERNELS": request},
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 1, request
        said = f"ValueError: SEGRID_KERNELS: '{request}' names nothing on this machine; there are: "
        assert said in refused.stderr and "gemm (" in refused.stderr


def test_info_says_what_is_masked():
    found = run("plain", "-m", "segrid", "info", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["cpu masked"] == {"level": "plain", "masked": levels_here()[1:]}
    text = run("plain", "-m", "segrid", "info").stdout
    assert "cpu masked: level plain" in text
