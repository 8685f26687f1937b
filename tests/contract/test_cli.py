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
    cuda = json.loads(done.stdout)["cuda"]
    assert cuda == "cuda:0" or cuda.startswith("none: ") and len(cuda) > 20, cuda
    assert "gemm" in segrid("info").stdout


@pytest.mark.parametrize("options", [["--model", "nothing-here"], ["--precision", "int3"], ["--threads", "0"]])
def test_usage_errors(tmp_path, coins, options):
    Image.fromarray(coins).save(tmp_path / "photo.png")
    done = segrid("everything", tmp_path / "photo.png", "-o", tmp_path / "out", *options)
    assert done.returncode == 2 and done.stderr.strip() and "Traceback" not in done.stderr


def test_detect(tmp_path, coins):
    import torch
    from pycocotools import mask as coco

    from benchmarks import random_owlv2

    with torch.no_grad():
        folder = random_owlv2.make("small", tmp_path / "detector")
    Image.fromarray(coins).save(tmp_path / "photo.png")
    (tmp_path / "bad.png").write_text("no image")
    done = segrid("detect", tmp_path / "photo.png", tmp_path / "bad.png", "--prompt", "a coin", "--prompt", "nuclei", "-o", tmp_path / "out", "--model", folder,
                  "--threshold", 0.01, "--json")
    assert done.returncode == 1, done.stderr
    good, bad = json.loads(done.stdout)
    assert "not an image" in bad["error"]
    file = json.loads((tmp_path / "out/photo_coco.json").read_text())
    assert [c["name"] for c in file["categories"]] == ["a coin", "nuclei"] and len(file["annotations"]) == sum(good["found"]) > 0
    assert all(int(coco.area(r["segmentation"])) == r["area"] for r in file["annotations"])
    assert np.asarray(Image.open(tmp_path / "out/photo_detections.png")).shape == coins.shape
    boxes = segrid("detect", tmp_path / "photo.png", "--prompt", "nuclei", "-o", tmp_path / "boxes", "--model", folder, "--no-masks")
    assert boxes.returncode == 0 and "nuclei" in boxes.stdout
    assert all("segmentation" not in r for r in json.loads((tmp_path / "boxes/photo_coco.json").read_text())["annotations"])
    empty = segrid("detect", tmp_path / "photo.png", "--prompt", "", "-o", tmp_path / "none", "--model", folder)
    assert empty.returncode == 2 and "prompts[0]: empty" in empty.stderr and not (tmp_path / "none").exists()
