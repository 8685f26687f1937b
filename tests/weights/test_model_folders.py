"""Folders that `segrid convert` and `save` write: complete, and never in place of another model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import segrid
import torch
from segrid.convert import convert

from tests import models

PACKAGED = Path(segrid.__file__).parent / "models"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small checkpoint of segment-anything, with the config.json that it needs beside it."""
    folder = tmp_path_factory.mktemp("original")
    theirs = models.sam.to_segment_anything(models.sam.make("small", folder))
    (folder / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), folder / "sam.pth")
    return folder / "sam.pth"


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_conversion_that_fails_changes_nothing(tmp_path, original):
    convert(original, tmp_path / "good")
    before = content(tmp_path / "good")
    assert set(before) == {"config.json", "model.safetensors"}
    shutil.copy(original.parent / "config.json", tmp_path)
    torch.save(torch.load(original) | {"adapter.w": torch.zeros(3)}, tmp_path / "extra.pth")
    with pytest.raises(FileExistsError, match="good: holds files of a model .*another folder"):
        convert(tmp_path / "extra.pth", tmp_path / "good")
    assert content(tmp_path / "good") == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("mine")
    for folder in ("fresh", "notes"):
        with pytest.raises(segrid.CorruptFileError, match=r"extra\.pth: .*unexpected.*adapter\.w"):
            convert(tmp_path / "extra.pth", tmp_path / folder)
    assert not (tmp_path / "fresh").exists()
    assert content(tmp_path / "notes") == {"readme.txt": b"mine"}
    convert(original, tmp_path / "notes")
    assert content(tmp_path / "notes") == before | {"readme.txt": b"mine"}


@pytest.mark.parametrize("name", ["config.json", "segrid.json", "weights.safetensors"])
def test_a_part_of_a_model_is_not_mixed_with_another(tmp_path, original, tiny, name):
    (tmp_path / name).write_text("{}")
    write = [lambda: convert(original, tmp_path), lambda: low.save(tmp_path)]
    low = tiny.to("cpu", "int8")
    for function in write:
        with pytest.raises(FileExistsError, match=f"holds files of a model .{name}"):
            function()
    assert content(tmp_path) == {name: b"{}"}


def test_a_full_disk(tmp_path, original):
    """The error is an OSError that names the file, and nothing is left."""
    code = (
        "import resource, sys, segrid\nfrom segrid.convert import convert\n"
        "low = segrid.Segmenter('tiny', precision='int8')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "for write in (lambda: low.save('saved'), lambda: convert(sys.argv[1], 'converted')):\n"
        "    try: write()\n"
        "    except OSError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, original], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [
        f"[Errno 27] File too large: '{folder}/model.safetensors'"
        for folder in ("saved", "converted")
    ], done.stderr
    assert not any(tmp_path.iterdir())


def test_a_tracker_keeps_its_side_and_its_pooling(tmp_path):
    tracker = segrid.Tracker(precision="int8", image_side=256, memory_pooling=2)
    tracker.save(tmp_path / "tracker")
    assert segrid.Tracker(tmp_path / "tracker").side == 256
    assert json.loads((tmp_path / "tracker/config.json").read_text())["memory_pooling"] == 2
    tracker.with_threads(1).segmenter.save(tmp_path / "segmenter")
    assert segrid.Segmenter(tmp_path / "segmenter").side == 256


@pytest.mark.parametrize("has_words", [True, False], ids=["tokenizer", "no tokenizer"])
def test_a_detector_of_the_hub_is_saved_with_its_tokenizer(tmp_path, has_words):
    repository = tmp_path / "hub/models--owner--words"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("a" * 40)
    for name in ("config.json", "model.safetensors", *["tokenizer.json"][:has_words]):
        shutil.copy(PACKAGED / "tiny-detector" / name, snapshot / name)
    code = (
        "import segrid\ntry: segrid.Detector('owner/words', precision='int8').save('saved')\n"
        "except FileNotFoundError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    if has_words:
        assert segrid.Detector(tmp_path / "saved").read_tokenizer() is not None
    else:
        assert "neither tokenizer.json nor vocab.json" in done.stdout
        assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("name", ["folder.pt", "v1.bin"])
def test_a_folder_may_be_named_as_a_pickle(tmp_path, name):
    from segrid.compat.checkpoints import load

    shutil.copytree(PACKAGED / "tiny", tmp_path / name)
    assert segrid.Segmenter(tmp_path / name).family == load(tmp_path / name, "cpu").family


@pytest.mark.parametrize(
    "name, told",
    [
        ("model.safetensors.index.json", "split over several files; merge them"),
        ("pytorch_model.bin", "never loaded .*write the model again"),
    ],
)
def test_weights_in_another_form(tmp_path, name, told):
    shutil.copy(PACKAGED / "tiny/config.json", tmp_path)
    (tmp_path / name).write_text("{}")
    with pytest.raises(NotImplementedError, match=told):
        segrid.Segmenter(tmp_path)


def test_a_pipe_in_place_of_weights(tmp_path):
    shutil.copy(PACKAGED / "tiny/config.json", tmp_path)
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(segrid.CorruptFileError, match="model.safetensors: is a pipe or a device"):
        segrid.Segmenter(tmp_path)


def test_a_path_that_is_not_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b"n\xff")
    shutil.copytree(PACKAGED / "tiny", folder)
    with pytest.raises(ValueError, match="n.udcff/config.json': this path is not UTF-8.*rename"):
        segrid.Segmenter(folder)


@pytest.mark.parametrize("damage", ["no config", "no weights", "cut weights", "nothing"])
def test_the_cache_of_the_drop_ins_recovers(tmp_path, monkeypatch, original, damage):
    from segrid.compat.checkpoints import load

    monkeypatch.setenv("SEGRID_CACHE", str(tmp_path))
    load(original, "cpu")
    (folder,) = (tmp_path / "converted").iterdir()
    before, weights = content(folder), folder / "model.safetensors"
    if damage == "no config":
        (folder / "config.json").unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    load(original, "cpu")
    assert content(folder) == before and os.listdir(tmp_path / "converted") == [folder.name]
