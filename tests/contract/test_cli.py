"""The command line: outputs, a failed image among others, JSON."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def segrid(*arguments):
    return subprocess.run([sys.executable, "-m", "segrid", *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_everything_writes_three_files_per_image(tmp_path, coins):
    from pycocotools import mask as coco

    (tmp_path / "a").mkdir()
    Image.fromarray(coins).save(tmp_path / "photo.png")
    Image.fromarray(coins[:, ::-1]).save(tmp_path / "a" / "photo.png")
    (tmp_path / "bad.png").write_bytes(b"not an image at all")
    done = segrid("everything", tmp_path / "photo.png", tmp_path / "bad.png", tmp_path / "a/photo.png", "-o", tmp_path / "out",
                  "--points-per-side", 10)
    assert done.returncode == 1, done.stderr
    assert "bad.png" in done.stdout and "not an image" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "photo-2_coco.json", "photo-2_labels.png", "photo-2_overlay.png", "photo_coco.json", "photo_labels.png", "photo_overlay.png"]
    labels = np.asarray(Image.open(tmp_path / "out/photo_labels.png"))
    assert labels.shape == coins.shape[:2] and labels.max() > 3
    file = json.loads((tmp_path / "out/photo_coco.json").read_text())
    assert len(file["annotations"]) == labels.max()
    for record in file["annotations"]:
        assert int(coco.area(record["segmentation"])) == record["area"]
    assert np.asarray(Image.open(tmp_path / "out/photo_overlay.png")).shape == coins.shape


def test_json_and_exit_code_0(tmp_path, coins):
    Image.fromarray(coins).save(tmp_path / "photo.png")
    done = segrid("everything", tmp_path / "photo.png", "-o", tmp_path / "out", "--target-points", 25, "--json")
    assert done.returncode == 0
    record = json.loads(done.stdout)[0]
    assert record["objects"] >= 0 and {"encode", "decode", "scan", "read", "write"} <= set(record["seconds"])


def test_info():
    done = segrid("info", "--json")
    found = json.loads(done.stdout)
    assert found["model"]["family"] == "sam" and found["kernels"] and found["threads"] >= 1
    assert "gemm" in segrid("info").stdout


@pytest.mark.parametrize("options", [["--model", "nothing-here"], ["--precision", "int3"], ["--threads", "0"]])
def test_usage_errors(tmp_path, coins, options):
    Image.fromarray(coins).save(tmp_path / "photo.png")
    done = segrid("everything", tmp_path / "photo.png", "-o", tmp_path / "out", *options)
    assert done.returncode == 2 and done.stderr.strip() and "Traceback" not in done.stderr
