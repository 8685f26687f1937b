"""`segrid bench --video`."""

import json
import subprocess
import sys


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "segrid", "bench", "--video", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stages_make_up_the_frame(video_model):
    done = run("drawn", "--model", video_model, "--objects", 2, "--frames", 3, "--json")
    report = json.loads(done.stdout)
    assert report["objects"] == 2 and report["model"] == str(video_model)
    stages = report["seconds"]
    assert {"encode", "memory attention", "decode", "memory encoder", "scan"} == set(stages)
    assert all(value > 0 for value in stages.values())
    assert 0.3 * report["frame"] < sum(stages.values()) < 3 * report["frame"]
    assert report["first_mask"] > 0 and report["worker_seconds"]["memory cross-attention"] > 0
    attention = report["multiply_adds"]["memory cross-attention"]
    assert attention and set(report["product_rate"]) >= set(attention)
    table = run("drawn", "--model", video_model, "--frames", 1, "--image-side", 64)
    assert table.returncode == 0 and "frames/s with a full memory" in table.stdout
    pooled = run("drawn", "--model", video_model, "--frames", 1, "--memory-pooling", 2, "--json")
    pooled = json.loads(pooled.stdout)["multiply_adds"]["memory cross-attention"]
    assert sum(pooled.values()) < 0.7 * sum(attention.values()) / report["objects"]


def test_what_cannot_be_measured_is_told(video_model, tmp_path):
    missing = run(tmp_path / "none.mp4", "--model", video_model)
    assert missing.returncode == 2 and "none.mp4" in missing.stderr
    plain = run("drawn", "--model", "tiny")
    assert plain.returncode == 2 and "no memory of video" in " ".join(plain.stderr.split())
    short = run("drawn", "--model", video_model, "--memory-frames", 9)
    assert short.returncode == 2 and "has learned 7 frames" in " ".join(short.stderr.split())
