"""`segrid batch --engine ray`: a local cluster of several processes writes the same bytes, even
when one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

ray = pytest.importorskip("ray")

OPTIONS = ["--points-per-side", "4", "--crop-n-layers", "0", "--write", "coco,labels,csv"]


def contents(out):
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.name != "manifest.jsonl"
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("ray") / "in"
    root.mkdir()
    rng = np.random.default_rng(2)
    for i in range(16):
        Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)).resize(
            (90 + 3 * i, 70 + i), Image.BICUBIC
        ).save(root / f"{i:02d}.png")
    (root / "bad.png").write_text("no image")
    return root


def batch(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "segrid", "batch", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
    )


def test_same_bytes_with_a_worker_killed(folder, tmp_path):
    local = batch(folder, "-o", tmp_path / "local", *OPTIONS)
    assert local.returncode == 1, local.stderr
    from segrid import Segmenter
    from segrid.folders.inputs import collect
    from segrid.folders.on_ray import ray_records
    from segrid.folders.run import Job, run

    killed = []

    def kill():
        """Kills one of the workers that hold the model, after the first image is done."""
        deadline = time.time() + 90
        while time.time() < deadline and not killed:
            if list((tmp_path / "ray").rglob("*.csv")):
                for pid in filter(str.isdecimal, os.listdir("/proc")):
                    try:
                        name = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ")
                        parent = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
                    except OSError:
                        continue
                    if name.startswith(b"ray::") and b"Map" in name and _below(parent, os.getpid()):
                        os.kill(int(pid), signal.SIGKILL)
                        killed.append(pid)
                        return
            time.sleep(0.005)

    watcher = threading.Thread(target=kill)
    watcher.start()
    job = Job(
        Segmenter("tiny"),
        tmp_path / "ray",
        ["coco", "labels", "csv"],
        {"points_per_side": 4, "crop_n_layers": 0},
    )
    summary = run(job, collect([str(folder)]), {}, make_records=ray_records(2, 1))
    watcher.join()
    assert killed, "no worker was killed"
    assert summary.done == 16 and [name for name, _ in summary.failed] == ["bad.png"]
    for part in (tmp_path / "ray").rglob("*.part"):
        part.unlink()
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    records = [
        json.loads(line)["image"]
        for line in (tmp_path / "ray/manifest.jsonl").read_text().splitlines()[1:]
    ]
    assert sorted(records) == sorted({*records}) and len(records) == 17


def _below(pid, ancestor):
    """True where a process descends from another: only processes that this test started are
    killed."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
    return False


def test_command(folder, tmp_path):
    done = batch(folder, "-o", tmp_path / "out", *OPTIONS, "--engine", "ray", "--workers", 1)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["done"] == 16 and set(told["quarantined"]) == {"bad.png"}
    assert batch(folder, "-o", tmp_path / "out", *OPTIONS, "--engine", "spark").returncode == 2
