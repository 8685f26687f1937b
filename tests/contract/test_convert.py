"""`segrid convert`: converted checkpoints of segment-anything and sam2 answer as the originals do;
a checkpoint that holds code runs none."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import segrid
import torch
from segrid.convert import convert

from tests import models


def smooth_image(size):
    from PIL import Image

    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.BICUBIC))


def test_segment_anything(tmp_path):
    """The converted folder answers as the checkpoint's own predictor does; the LayerNorms of the
    decoder get torch's epsilon."""
    theirs = models.sam.to_segment_anything(models.sam.make("wide", tmp_path))
    torch.save(theirs.state_dict(), tmp_path / "sam.pth")  # Its config.json is in the same folder.
    report = convert(tmp_path / "sam.pth", tmp_path / "out")
    assert report["family"] == "sam" and report["dropped"] == []
    from segment_anything import SamPredictor

    image, predictor = smooth_image((233, 150)), SamPredictor(theirs)
    with torch.no_grad():
        predictor.set_image(image)
        masks, scores, low = predictor.predict(np.array([[50.0, 60]]), np.array([1]))
    ours = segrid.Segmenter(tmp_path / "out").predict(image, points=[[[50, 60]]], multimask=True)
    assert (
        np.abs(ours.low_res - low).max() < 3e-4 * np.abs(low).max()
        and np.abs(ours.scores - scores).max() < 1e-4
    )
    assert (ours.array == masks).mean() > 0.9995


@pytest.mark.parametrize("name", ["sam2.1_hiera_t", "sam2_hiera_t"])
def test_sam2(tmp_path, name):
    theirs = models.sam2.original(name)
    torch.save({"model": theirs.state_dict()}, tmp_path / "sam2.pt")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "segrid",
            "convert",
            tmp_path / "sam2.pt",
            "-o",
            tmp_path / "out",
            "--json",
        ],
        capture_output=True,
        text=True,
    )
    report = json.loads(done.stdout)
    assert (
        done.returncode == 0
        and report["family"] == "sam2"
        and any(d.startswith("memory_attention") for d in report["dropped"])
    )
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    image, predictor = smooth_image((300, 200)), SAM2ImagePredictor(theirs)
    predictor.set_image(image)
    masks, scores, low = predictor.predict(np.array([[100.0, 60]]), np.array([1]))
    ours = segrid.Segmenter(tmp_path / "out").predict(image, points=[[[100, 60]]], multimask=True)
    low_res = np.clip(ours.low_res, -32, 32)  # sam2 clamps the logits that it returns.
    assert (
        low.std() > 1
        and np.abs(low_res - low).max() < 1e-3 * np.abs(low).max()
        and np.abs(ours.scores - scores).max() < 1e-3
    )
    assert (ours.array == masks.astype(bool)).mean() > 0.999


@pytest.mark.parametrize("size", ["small", "base_plus", "large"])
def test_every_published_size_of_sam2_is_known(tmp_path, size):
    """transformers' own converter writes the same configurations."""
    from segrid.convert import sam2

    widths, blocks, windows, of_all, heads = {
        "small": (96, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13), 1),
        "base_plus": (112, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), 2),
        "large": (144, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), 2),
    }[size]
    yaml = {"small": "sam2.1_hiera_s", "base_plus": "sam2.1_hiera_b+", "large": "sam2.1_hiera_l"}[
        size
    ]
    config, tensors, _ = sam2.convert(models.sam2.original(yaml, calibrated=False).state_dict())
    backbone = config["vision_config"]["backbone_config"]
    assert (
        backbone["hidden_size"],
        tuple(backbone["blocks_per_stage"]),
        tuple(backbone["window_size_per_stage"]),
        tuple(backbone["global_attention_blocks"]),
        backbone["num_attention_heads"],
    ) == (widths, blocks, windows, of_all, heads)
    from transformers import Sam2Config, Sam2Model

    with torch.device("meta"):
        wanted = {
            k: tuple(v.shape) for k, v in Sam2Model(Sam2Config(**config)).state_dict().items()
        }
    wanted.pop("prompt_encoder.shared_embedding.positional_embedding")
    assert {k: tuple(v.shape) for k, v in tensors.items()} == wanted


class Canary:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['SEGRID_CANARY']}",)


def test_row_36_a_checkpoint_with_code_runs_nothing(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    monkeypatch.setenv("SEGRID_CANARY", str(canary))
    torch.save({"model": {"image_encoder.neck": Canary()}}, tmp_path / "evil.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Canary()))
    for file in ("evil.pt", "plain.pkl"):
        with pytest.raises(segrid.CorruptFileError, match="never run"):
            convert(tmp_path / file, tmp_path / "out")
    assert not canary.exists() and not (tmp_path / "out").exists()


def test_what_is_not_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        convert(tmp_path / "none.pt", tmp_path / "out")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(segrid.CorruptFileError):
        convert(tmp_path / "broken.pt", tmp_path / "out")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    with pytest.raises(segrid.CorruptFileError, match="named tensors"):
        convert(tmp_path / "epoch.pt", tmp_path / "out")
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(NotImplementedError, match="conv.weight"):
        convert(tmp_path / "other.pt", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "segrid", "convert", tmp_path / "other.pt", "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "conv.weight" in done.stderr and "Traceback" not in done.stderr
