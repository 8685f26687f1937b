"""Model files with other content: empty files, web pages, git-lfs pointers, text, archives."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import segrid
from segrid.convert import convert

TINY = Path(segrid.__file__).parent / "models/tiny"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
INSTEAD = {
    "empty": (b"", "is an empty file .0 bytes.*fetch it again"),
    "page": (
        b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
        "is a web page.*address.*/resolve/",
    ),
    "page in capitals": (b"\xef\xbb\xbf\r\n  <HTML>404</HTML>", "is a web page"),
    "error of a store": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "is a web page .HTML or XML",
    ),
    "pointer": (POINTER, "is a git-lfs pointer.*git lfs pull"),
}
TEXTS = {
    "words": (b"404: Not Found", "is a text file, not weights; it begins with '404: Not Found'"),
    "json": (b'{"error": "Repository not found"}', "is a text file, not weights"),
    "long text": (
        ("zażółć gęślą jaźń\n" * 500).encode(),
        "is a text file, not weights; it begins with 'zażółć",
    ),
}


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "content,told", [*INSTEAD.values(), *TEXTS.values()], ids=[*INSTEAD, *TEXTS]
)
def test_weights(folder, content, told):
    (folder / "model.safetensors").write_bytes(content)
    for model in (folder, folder / "model.safetensors"):
        with pytest.raises(segrid.CorruptFileError, match=f"model.safetensors: {told}"):
            segrid.Segmenter(model)
    with pytest.raises(segrid.CorruptFileError, match=told):
        segrid.Detector(folder)


@pytest.mark.parametrize("content,told", INSTEAD.values(), ids=INSTEAD)
def test_config(folder, content, told):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(segrid.CorruptFileError, match=f"config.json: {told}"):
        segrid.Segmenter(folder)


@pytest.mark.parametrize("name", ["sam.pth", "sam2.pt"])
@pytest.mark.parametrize(
    "content,told", [*INSTEAD.values(), *TEXTS.values()], ids=[*INSTEAD, *TEXTS]
)
def test_checkpoints(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(segrid.CorruptFileError, match=f"{name}: {told}"):
        convert(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_archives_that_hold_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "sam.pth", "w") as archive:
        archive.writestr("weights/sam_vit_b.pth", "x")
        archive.writestr("readme.txt", "x")
    with pytest.raises(
        segrid.CorruptFileError,
        match="sam.pth: is a zip archive, but no checkpoint.*readme.txt, weights/.*unpack",
    ):
        convert(tmp_path / "sam.pth", tmp_path / "out")


def test_safetensors_need_no_converting(tmp_path):
    shutil.copy(TINY / "model.safetensors", tmp_path / "sam.pth")
    with pytest.raises(
        segrid.CorruptFileError, match="sam.pth: is a safetensors file, which needs no converting"
    ):
        convert(tmp_path / "sam.pth", tmp_path / "out")


def test_binary_files_keep_the_readers_words(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(segrid.CorruptFileError) as error:
        segrid.Segmenter(folder)
    assert "text file" not in str(error.value)
    (tmp_path / "sam.pth").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(segrid.CorruptFileError, match="cannot be read as weights only"):
        convert(tmp_path / "sam.pth", tmp_path / "out")


def test_the_drop_ins_say_so_too(tmp_path):
    from segrid.compat.segment_anything import sam_model_registry

    (tmp_path / "sam_vit_b.pth").write_bytes(POINTER)
    with pytest.raises(segrid.CorruptFileError, match="git-lfs pointer"):
        sam_model_registry["vit_b"](checkpoint=tmp_path / "sam_vit_b.pth")


def test_scripted_detectors(tmp_path):
    (tmp_path / "yolo.torchscript").write_bytes(INSTEAD["page"][0])
    with pytest.raises(segrid.CorruptFileError, match="yolo.torchscript: is a web page"):
        segrid.ScriptedDetector(tmp_path / "yolo.torchscript", trust=True)


def test_the_command_says_it_once(tmp_path):
    (tmp_path / "sam.pth").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "segrid", "convert", tmp_path / "sam.pth", "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    )
    assert "sam.pth: is an empty file" in done.stderr
