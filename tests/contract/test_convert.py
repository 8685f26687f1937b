"""`segrid convert`: converted checkpoints of segment-anything and sam2 answer as the originals do;
a checkpoint that holds code runs none."""

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

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
    assert done.returncode == 0 and (report["family"], report["video"], report["dropped"]) == (
        "sam2",
        True,
        [],
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


@pytest.mark.parametrize("name", ["sam2.1_hiera_t", "sam2_hiera_t"])
def test_the_memory_of_sam2_is_that_of_transformers(tmp_path, name):
    """transformers' video model loads the folder, every tensor in its place: memory attention,
    memory encoder and object pointers answer as sam2's do."""
    from transformers import Sam2VideoModel

    theirs = models.sam2.original(name)
    torch.save({"model": theirs.state_dict()}, tmp_path / "sam2.pt")
    segrid.convert.convert(tmp_path / "sam2.pt", tmp_path / "out")
    model, told = Sam2VideoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(told.values()), told
    made = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=made)

    side = model.backbone_feature_sizes[-1][0]
    image, place = random(side**2, 1, 256), random(side**2, 1, 256)
    memory, where = random(side**2 + 4, 1, 64), random(side**2 + 4, 1, 64)
    with torch.no_grad():
        expected = theirs.memory_attention(image, memory, place, where, num_obj_ptr_tokens=4)
        found = model.memory_attention(image, memory, place, where, num_object_pointer_tokens=4)
        torch.testing.assert_close(
            found[0] if found.ndim == 4 else found,
            expected.reshape_as(found[0] if found.ndim == 4 else found),
            rtol=1e-3,
            atol=1e-4,
        )
        features, masks = random(1, 256, side, side), random(1, 1, 16 * side, 16 * side)
        expected = theirs.memory_encoder(features, masks, skip_mask_sigmoid=True)
        found = model.memory_encoder(features, masks)
        torch.testing.assert_close(found[0], expected["vision_features"], rtol=1e-3, atol=1e-4)
        token = random(1, 256)
        torch.testing.assert_close(model.object_pointer_proj(token), theirs.obj_ptr_proj(token))
    same = dict(
        memory_temporal_positional_encoding=theirs.maskmem_tpos_enc,
        no_object_pointer=theirs.no_obj_ptr,
        no_memory_embedding=theirs.no_mem_embed,
        no_memory_positional_encoding=theirs.no_mem_pos_enc,
    )
    if name.startswith("sam2.1"):
        same["occlusion_spatial_embedding_parameter"] = theirs.no_obj_embed_spatial
    for name, value in same.items():
        assert torch.equal(getattr(model, name), value), name
    assert torch.equal(model.mask_downsample.weight, theirs.mask_downsample.weight)


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
    from transformers import Sam2VideoConfig, Sam2VideoModel

    with torch.device("meta"):
        wanted = {
            k: tuple(v.shape)
            for k, v in Sam2VideoModel(Sam2VideoConfig(**config)).state_dict().items()
        }
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


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a small checkpoint, with the config.json that it needs, and its tensors."""
    folder = tmp_path_factory.mktemp("small")
    theirs = models.sam.to_segment_anything(models.sam.make("small", folder))
    (folder / "model.safetensors").unlink()
    return folder, theirs.state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "sam.", "_orig_mod.module."])
@pytest.mark.parametrize("under", [None, "model", "state_dict", "model_state"])
def test_names_and_places_of_other_trainers(tmp_path, small, prefix, under):
    folder, tensors = small
    named = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    torch.save({under: named, "epoch": 3} if under else named, folder / "other.pth")
    report = convert(folder / "other.pth", tmp_path / "out")
    assert report["family"] == "sam" and report["tensors"] == 202


@pytest.mark.parametrize(
    "more, told",
    [
        ({"args": argparse.Namespace(a=1)}, "Unsupported global: argparse.Namespace"),
        ({"lr": np.float64(1e-3)}, r"Unsupported global: numpy\S*scalar"),
    ],
)
def test_training_checkpoints_with_other_objects(tmp_path, more, told):
    torch.save({"model": {"a": torch.zeros(1)}, **more}, tmp_path / "train.pth")
    with pytest.raises(segrid.CorruptFileError, match=f"{told}.*never run.*torch.save") as error:
        convert(tmp_path / "train.pth", tmp_path / "out")
    assert "\x1b" not in str(error.value) and "weights_only" not in str(error.value)


def test_what_is_found_in_place_of_tensors(tmp_path):
    torch.save({"net": {}, "epoch": 3}, tmp_path / "train.pth")
    with pytest.raises(
        segrid.CorruptFileError, match=r"'net' \(dict\), 'epoch' \(int\).*torch.sav"
    ):
        convert(tmp_path / "train.pth", tmp_path / "out")


def of_shape(name, *shape):
    return lambda tensors: {name: torch.zeros(shape)}


@pytest.mark.parametrize(
    "change, told",
    [
        (of_shape("mask_decoder.iou_token.weight"), "another shape"),
        (of_shape("image_encoder.pos_embed", 3), "another shape"),
        (of_shape("image_encoder.patch_embed.proj.weight", 3, 3), "another shape.*unpack"),
        (of_shape("image_encoder.blocks.0.attn.rel_pos_h", 11, 0), "another shape.*zero"),
        (
            lambda tensors: {"image_encoder.pos_embed": torch.zeros(2, 2).to_sparse()},
            "'image_encoder.pos_embed': is no dense tensor",
        ),
        (lambda tensors: {"image_encoder.pos_embed": torch.zeros(2, device="meta")}, r"\(meta\)"),
        (
            lambda tensors: {"bomb": torch.zeros(1).expand(20000, 20000)},
            "'bomb': has .*1600000000 bytes, of which the file stores only 4",
        ),
    ],
)
def test_tensors_of_other_kinds(tmp_path, small, change, told):
    folder, tensors = small
    torch.save(tensors | change(tensors), folder / "changed.pth")
    with pytest.raises(segrid.CorruptFileError, match=f"changed.pth: .*{told}"):
        convert(folder / "changed.pth", tmp_path / "out")


def test_a_checkpoint_without_the_decoders_mlp(tmp_path, small):
    folder, tensors = small
    left = {k: v for k, v in tensors.items() if "mask_decoder.transformer.layers.0.mlp" not in k}
    torch.save(left, folder / "left.pth")
    with pytest.raises(segrid.CorruptFileError, match="left.pth: lacks a tensor .*mlp.lin1.weight"):
        convert(folder / "left.pth", tmp_path / "out")


def test_damaged_files(tmp_path):
    """Changed bytes of archives and of the pickles in them; torch and zipfile raise many types."""
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "good.pth")
    good, random = (tmp_path / "good.pth").read_bytes(), np.random.default_rng(0)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    for number in range(120):
        data = bytearray(parts[pickled] if number % 2 else good)
        for place in random.integers(0, len(data), 2):
            data[place] = random.integers(256)
        if number % 2:
            written = io.BytesIO()
            with zipfile.ZipFile(written, "w") as archive:
                for name, part in parts.items():
                    archive.writestr(name, bytes(data) if name == pickled else part)
            data = written.getvalue()
        (tmp_path / "bad.pth").write_bytes(data)
        with pytest.raises((segrid.CorruptFileError, NotImplementedError), match="bad.pth: "):
            convert(tmp_path / "bad.pth", tmp_path / "out")


@pytest.mark.parametrize(
    "text, told",
    [
        ("[" * 100_000, "not JSON"),
        ("{", "not JSON"),
        *[
            (
                f'{{"mask_decoder_config": {{"num_attention_heads": {value}}}}}',
                "num_attention_heads",
            )
            for value in ("1e400", "4.7", "true", "0", '"8"')
        ],
        *[(f'{{"image_size": {value}}}', "image_size must") for value in ("-1", "[512, 256]")],
    ],
)
def test_wrong_settings_beside_a_checkpoint(tmp_path, small, text, told):
    torch.save(small[1], tmp_path / "sam.pth")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(segrid.CorruptFileError, match=f"config.json: .*{told}"):
        convert(tmp_path / "sam.pth", tmp_path / "out")


def test_the_image_size_beside_a_checkpoint(tmp_path):
    """Beside SAM's the tensors tell it; beside another program's config.json nothing is told."""
    from segrid.convert import config_beside, sam2

    side = models.mobile_sam.PRESETS["small"]["image"]
    torch.save(models.mobile_sam.checkpoint("small", tmp_path / "scratch"), tmp_path / "m.pth")
    settings = {"image_size": side, "mask_decoder_config": {"num_attention_heads": 4}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    convert(tmp_path / "m.pth", tmp_path / "out")
    assert segrid.Segmenter(tmp_path / "out").side == side
    nested = {"vision_config": {"backbone_config": {"image_size": [512, 512]}}}
    (tmp_path / "config.json").write_text(json.dumps(nested))
    assert config_beside.read(tmp_path / "config.json") == (None, 512)
    (tmp_path / "config.json").write_text("[]")
    assert config_beside.read(tmp_path / "config.json") == (None, None)
    theirs = models.sam2.original("sam2.1_hiera_t", calibrated=False).state_dict()
    config, _, _ = sam2.convert(theirs, 512)
    assert config["image_size"] == config["prompt_encoder_config"]["image_size"] == 512
    assert config["vision_config"]["backbone_config"]["image_size"] == [512, 512]
    assert config["vision_config"]["backbone_feature_sizes"] == [[128] * 2, [64] * 2, [32] * 2]


def test_a_video_checkpoint_without_one_of_its_tensors(tmp_path):
    theirs = models.sam2.original("sam2.1_hiera_t", calibrated=False).state_dict()
    torch.save({k: v for k, v in theirs.items() if k != "no_obj_ptr"}, tmp_path / "sam2.pt")
    with pytest.raises(segrid.CorruptFileError, match="sam2.pt: .*missing.*no_object_pointer"):
        convert(tmp_path / "sam2.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
