"""Commands replace no file of the user."""

import json

import pytest
from PIL import Image
from segrid.cli.app import app
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path):
    """A data set: two pictures, and labels that somebody drew."""
    for part, mode in (("images", "RGB"), ("labels", "L")):
        (tmp_path / part).mkdir()
        for name in "ab":
            Image.new(mode, (64, 48), 99).save(tmp_path / part / f"{name}.png")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def invoked(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, " ".join(done.output.split())


def test_a_batch_does_not_replace_files_of_the_user(folder):
    before = contents(folder)
    words = ("batch", folder / "images", "-o", folder, "--points-per-side", 2, "--write")
    code, text = invoked(*words, "labels")
    assert code == 2 and "labels/a.png: segrid did not write this file" in text
    assert contents(folder) == before
    (folder / "coco").mkdir()
    (folder / "coco" / "b.json").write_text("mine")
    code, text = invoked(*words, "coco")
    assert code == 2 and "coco/b.json: segrid did not write this file" in text
    (folder / "coco" / "b.json").unlink()
    assert invoked(*words, "coco")[0] == 0
    # The folder has a manifest now: what an interrupted run wrote is written again.
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    (folder / "manifest.jsonl").write_text("".join(lines[:-1]))
    assert invoked(*words, "coco")[0] == 0
    assert len(json.loads((folder / "coco.json").read_text())["images"]) == 2
    assert {path: data for path, data in contents(folder).items() if path in before} == before


@pytest.mark.parametrize(
    "words",
    [
        "everything {a} {shown} -o {o} --points-per-side 2",
        "everything {a} -o {o} --points-per-side 2 --trace {a}",
        "detect {a} {found} -o {o} --prompt coin",
        "compare {a} -o {a} --points-per-side 2",
    ],
)
def test_an_image_is_not_replaced_by_a_result(folder, words):
    images = folder / "images"
    for name in ("a_overlay.png", "a_detections.png"):
        Image.new("RGB", (64, 48), 50).save(images / name)
    before = contents(folder)
    where = dict(a=images / "a.png", o=images)
    where |= dict(shown=images / "a_overlay.png", found=images / "a_detections.png")
    code, text = invoked(*words.format(**where).split())
    assert code == 2 and "is one of the images, and would be replaced" in text
    assert contents(folder) == before
