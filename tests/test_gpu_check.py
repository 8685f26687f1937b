"""The check for the day there is a GPU: it runs here, without one, and a run that is cut off keeps
what it found."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu_steps import CUDA_TESTS, DEVICE_TESTS, Step, Target, steps_for
from benchmarks.run import command_line

ROOT = Path(__file__).parents[1]
REHEARSED = ("machine", "configure", "minimal", "batches-vit_b", "profile-boxes")


def may_unshare():
    """Whether this process may have a network and mounts of its own."""
    command = shutil.which("unshare")
    return command and subprocess.run([command, "--net", "--mount", "true"]).returncode == 0


def test_it_runs_without_network_and_without_packages_of_the_system(tmp_path):
    """On the device cpu-plain, with the engine that is built already. The other steps, and the
    build, take minutes: scripts/gpu_check.sh --rehearse."""
    if not may_unshare():
        pytest.skip("needs the right to have namespaces (unshare --net --mount)")
    from segrid._native import _core

    engine = Path(_core.__file__).parent
    command = ["scripts/gpu_check.sh", "--rehearse", "--engine", engine, "--steps", *REHEARSED]
    environ = {**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (tmp_path / "check.json").exists(), done.stdout[-4000:] + done.stderr[-4000:]
    check = json.loads((tmp_path / "check.json").read_text())
    states = {row["step"]: row["state"] for row in check["steps"]}
    log = (tmp_path / "log.txt").read_text()
    assert states == dict.fromkeys(REHEARSED, "ok"), log[-4000:] + done.stderr[-4000:]
    assert done.returncode == 0 and "OpenCV" not in log.partition("== minimal")[0]
    batches = check["results"]["batches-tiny-fp16-cpu-plain"]
    for subject in ("segrid", "segment_anything"):
        table = batches["rows"][subject]["table"]
        assert all(row["boxes_per_second"] > 0 for row in table) and len(table) == 1
    assert batches["agreement"]["segment_anything"]["iou mean"] > 0.95
    profile = check["results"]["profile-boxes-tiny-fp16-cpu-plain"]["rows"]["segrid"]
    assert profile["stages"]["kernels"] > 100 and 0 < profile["stages"]["share of gaps"] < 1
    assert sum(row["share"] for row in profile["table"]) > 0.9
    with pytest.raises(SystemExit, match="a rehearsal's"):
        gpu.keep(tmp_path / "check.json")


def test_a_run_that_is_cut_off_keeps_what_it_found(tmp_path, monkeypatch):
    target = Target("cuda", small=False, out=tmp_path / "out", pack=tmp_path)
    check = gpu.Check(target, seconds=60)
    write = "import json, os, pathlib; pathlib.Path(os.environ['SEGRID_BENCHMARK_RESULTS'], "
    write += "'speed-cuda.json').write_text(json.dumps({'median': 3})); print('measured')"
    # It leaves a process behind, which must end with it.
    child = "import subprocess, sys, time; "
    child += "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); "
    child += "print('child', p.pid, flush=True); time.sleep(99)"
    for name, limit, code, needs in (
        ("good", 30, write, ()),
        ("bad", 30, "raise SystemExit(3)", ()),
        ("after", 30, "print('never')", ("bad",)),
        ("slow", 2, child, ("good",)),
    ):
        results = tmp_path / name
        results.mkdir()
        check.run(Step(name, limit, [sys.executable, "-c", code], needs), results)
        found = json.loads((target.out / "check.json").read_text())
        assert found["steps"][-1]["step"] == name  # written after every step
    check.deadline = 0
    check.run(Step("late", 30, ["true"], ()), tmp_path / "good")
    found = json.loads((target.out / "check.json").read_text())
    assert [row["state"] for row in found["steps"]] == [
        "ok",
        "failed: exit code 3",
        "not started: bad failed",
        "cut off after 2 s",
        "not started: no time is left",
    ]
    assert found["steps"][0]["output"] == ["measured"] and not found["steps"][2]["output"]
    pid = int(found["steps"][3]["output"][0].split()[1])
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    assert gpu.keep(target.out / "check.json") == [tmp_path / "gpu/speed.json"]
    assert json.loads((tmp_path / "gpu/speed.json").read_text()) == {"median": 3}


def test_the_steps_have_options_that_there_are(tmp_path):
    target = Target("cuda", small=False, out=tmp_path, pack=tmp_path)
    steps = steps_for(target)
    names = [step.name for step in steps]
    assert len(set(names)) == len(names) and {n for s in steps for n in s.needs} <= set(names)
    benchmarks = [step.command for step in steps if "benchmarks.run" in step.command]
    assert len(benchmarks) > 10
    for command in benchmarks:
        options = command_line().parse_args(command[command.index("benchmarks.run") + 1 :])
        assert options.device == "cuda"


def test_the_tests_of_cuda_are_where_the_step_looks_for_them():
    """Those that take the fixtures `device` or `plain_device` of conftest.py."""
    takes = r"\([^)]*\b(?:plain_)?device\b"
    takes = re.compile(rf"^def test_\w+{takes}|^@pytest.fixture.*\ndef \w+{takes}", re.M)
    tests = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if takes.search(path.read_text()) and path != ROOT / "tests/conftest.py"
    ]
    assert len(tests) > 8
    assert not [file for file in tests if not file.startswith((*CUDA_TESTS, DEVICE_TESTS))]
