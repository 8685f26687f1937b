"""`segrid batch --engine processes`: one process for each GPU, here two on the device cpu-plain."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import segrid
from segrid.folders.inputs import collect
from segrid.folders.on_processes import gpu_of, process_records
from segrid.folders.run import Job, run

GRID = ("--points-per-side", "4")


def records_of(folder):
    """The manifest's lines after the first without what differs from run to run."""
    lines = (folder / "manifest.jsonl").read_text().splitlines()[1:]
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_the_outputs_are_those_of_one_process(batch, fields, tmp_path):
    common = (fields, "--write", "coco", "--device", "cpu-plain", "--json", *GRID)
    told = []
    for name, engine in (("one", ()), ("two", ("--engine", "processes", "--workers", "2"))):
        done = batch(*common, "-o", tmp_path / name, *engine)
        assert done.returncode == 1, done.stderr  # three images are bad
        told.append(json.loads(done.stdout))
    assert told[0] == told[1] and told[0]["done"] == 12 and len(told[0]["quarantined"]) == 3
    one, two = records_of(tmp_path / "one"), records_of(tmp_path / "two")
    assert one == two and len(one) == 15
    merged = [(tmp_path / name / "coco.json").read_bytes() for name in ("one", "two")]
    assert merged[0] == merged[1] and len(json.loads(merged[0])["annotations"]) > 0


class Dies:
    """A model whose process is killed at one image of the run, once."""

    def __init__(self, marker):
        self.marker = marker

    def __call__(self, pixels, **_):
        if pixels.array.shape[1] == 111 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return segrid.Segmenter("tiny", device="cpu").everything(pixels, points_per_side=1)


def test_a_process_that_dies_is_told_and_the_run_goes_on(fields, tmp_path):
    inputs = collect([str(fields / "a")], tmp_path / "out", kinds=set(), exclude=[])
    assert len(inputs) == 6
    job = Job(Dies(tmp_path / "died"), tmp_path / "out", ["coco"], {})
    makers = process_records(workers=2, threads=1)
    with pytest.raises(ChildProcessError, match="exit code -9 .*goes on from here"):
        run(job, inputs, {}, make_records=makers)
    summary = run(job, inputs, {}, make_records=makers)
    assert summary.done == 6 and not summary.failed


PROGRAM = """
import sys, time
from pathlib import Path
import segrid
from segrid.folders.inputs import collect
from segrid.folders.on_processes import process_records
from segrid.folders.run import Job, run

class Waits:
    def __init__(self, folder):
        self.folder = folder
    def __call__(self, pixels, **_):
        import os
        (self.folder / f"pid-{os.getpid()}").touch()
        time.sleep(60)

if __name__ == "__main__":
    out = Path(sys.argv[2])
    inputs = collect([sys.argv[1]], out, kinds=set(), exclude=[])
    run(Job(Waits(out), out, ["coco"], {}), inputs, {}, make_records=process_records(2, 1))
"""


def test_processes_end_with_a_run_that_is_killed(fields, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(fields / "a"), str(tmp_path)]
    running = subprocess.Popen(command)
    until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    workers = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    running.kill()
    running.wait()
    until(lambda: not any(psutil.pid_exists(pid) for pid in workers))


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("visible", "gpus", "expected"),
    [
        (None, 2, ["0", "1", "0"]),
        ("", 1, ["0", "0", "0"]),
        (None, 0, ["0", "0", "0"]),
        ("3, 5", 2, ["3", "5", "3"]),
        ("GPU-a1,GPU-b2,MIG-c3", 3, ["GPU-a1", "GPU-b2", "MIG-c3"]),
    ],
)
def test_each_process_sees_one_gpu(visible, gpus, expected):
    assert [gpu_of(i, visible, gpus) for i in range(3)] == expected


def test_the_variable_is_set_in_the_processes_alone(fields, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")
    inputs = collect([str(fields / "a")], tmp_path / "out", kinds=set(), exclude=[])[:4]
    job = Job(Tells(tmp_path), tmp_path / "out", ["coco"], {})
    assert len(list(process_records(workers=2, threads=1)(job, inputs))) == 4
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,8"
    seen = {path.name for path in tmp_path.glob("gpu-*")}
    assert seen and seen <= {"gpu-7", "gpu-8"}


class Tells:
    """A model that writes a file named by the GPU that its process sees."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, pixels, **_):
        (self.folder / f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}").touch()
        return segrid.Segmenter("tiny", device="cpu").everything(pixels, points_per_side=1)
