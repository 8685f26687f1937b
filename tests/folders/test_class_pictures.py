"""Class pictures: one PNG for each image, whose pixels are class numbers. Pillow reads them."""

import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import segrid
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from segrid.folders.classes import Classes, classes_of
from segrid.folders.views import names_in
from segrid.folders.writers import class_map, is_class_picture

COMMAND = [sys.executable, "-m", "segrid", "batch"]


def batch(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True)


class Teeth(torch.nn.Module):
    """Finds class 1 in the left half, class 0 in the whole image with a lower score, and class 2
    never."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = float(x.size(2))
        return torch.tensor(
            [[[0.0, 0.0, side / 2, side, 0.9, 1.0], [0.0, 0.0, side, side, 0.5, 0.0]]]
        )


def detector(path, names):
    extra = {"config.txt": json.dumps({"names": {str(i): n for i, n in enumerate(names)}})}
    torch.jit.save(torch.jit.script(Teeth()), str(path), _extra_files=extra)
    return path


@pytest.fixture
def visit(tmp_path):
    """A folder with frames, detectors for two views, and the rules."""
    rng = np.random.default_rng(4)
    for name in ("f1_front.png", "f2_front.jpg", "p2/f3_top.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90, 70), Image.BICUBIC).save(tmp_path / "in" / name)
    detector(tmp_path / "front.torchscript", ["11", "21", "crown"])
    detector(tmp_path / "top.torchscript", ["47", "crown", "21"])
    rules = {
        view: {"pattern": f"*_{view}.*", "detector": f"{view}.torchscript", "threshold": 0.01}
        for view in ("front", "top")
    }
    (tmp_path / "views.json").write_text(json.dumps(rules))
    return tmp_path


def wanted(visit, file, values):
    """The picture painted from the pipeline's masks; the best mask is painted last."""
    view = file.stem.rsplit("_", 1)[1]
    model = segrid.ScriptedDetector(visit / f"{view}.torchscript", trust=True)
    found = segrid.Pipeline(model, "tiny")(file, threshold=0.01)
    out = np.zeros(found.size, np.uint8)
    for i in sorted(range(len(found)), key=lambda i: found.scores[i]):
        out[found.masks.array[i]] = values[found.labels[i]]
    assert len(found) == 2 and len(np.unique(out)) > 1
    return out


VALUES = {"11": 11, "21": 21, "crown": 3, "47": 47}


def test_pixels_are_tooth_numbers(visit):
    done = batch(
        visit / "in",
        "-o",
        visit / "out",
        "--views",
        visit / "views.json",
        "--trust",
        "--write",
        "classes,coco",
    )
    assert done.returncode == 0, done.stderr
    for name in ("f1_front.png", "f2_front.jpg", "p2/f3_top.png"):
        with Image.open((visit / "out/classes" / name).with_suffix(".png")) as opened:
            assert opened.mode == "L"
            assert np.array_equal(np.asarray(opened), wanted(visit, visit / "in" / name, VALUES))
    assert json.loads((visit / "out/classes.json").read_text()) == {
        str(v): n for n, v in VALUES.items()
    }
    categories = json.loads((visit / "out/coco.json").read_text())["categories"]
    assert [c["name"] for c in categories] == ["11", "21", "crown", "47"]
    assert (
        names_in(visit / "top.torchscript")
        == segrid.ScriptedDetector(visit / "top.torchscript", trust=True).classes
        == ["47", "crown", "21"]
    )


def test_beside_the_images(visit):
    """As in the dental tool, FRAME_mask.png is written beside each frame; a second run changes
    nothing."""
    frames = {"f1_front.png", "f2_front.jpg", "p2/f3_top.png"}
    before = {name: (visit / "in" / name).read_bytes() for name in frames}
    arguments = [
        visit / "in",
        "-o",
        visit / "in",
        "--views",
        visit / "views.json",
        "--trust",
        "--write",
        "classes",
        "--output-suffix",
        "_mask",
        "--json",
    ]
    for round in range(2):
        done = batch(*arguments)
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["images"] == 3, done.stderr
        assert (told["skipped"], told["earlier"]) == ((0, 0), (3, 3))[round]
    for name in frames:
        file = visit / "in" / name
        made = np.asarray(Image.open(file.with_name(f"{file.stem}_mask.png")))
        assert (
            np.array_equal(made, wanted(visit, file, VALUES)) and file.read_bytes() == before[name]
        )
    left = {
        f.relative_to(visit / "in").as_posix() for f in (visit / "in").rglob("*") if f.is_file()
    }
    masks = {"f1_front_mask.png", "f2_front_mask.png", "p2/f3_top_mask.png"}
    assert left == frames | masks | {"manifest.jsonl", "quarantined.json", "classes.json"}
    # Another run does not take the masks for images.
    told = batch(visit / "in", "-o", visit / "other", "--json", "--points-per-side", 2)
    assert json.loads(told.stdout)["images"] == 3
    told = batch(
        *(visit / "in" / name for name in sorted(frames | masks)),
        "-o",
        visit / "more",
        "--exclude-suffix",
        "_mask",
        "--json",
        "--points-per-side",
        2,
    )
    assert json.loads(told.stdout)["images"] == 3
    done = batch(visit / "in/f1_front_mask.png", "-o", visit / "none", "--exclude-suffix", "_mask")
    assert done.returncode == 2 and "end in _mask" in " ".join(done.stderr.split())


def test_files_of_others_stay(visit):
    mine = visit / "in/f1_front_mask.png"
    Image.new("L", (90, 70), 5).save(mine)
    content = mine.read_bytes()
    arguments = [
        visit / "in",
        "-o",
        visit / "in",
        "--views",
        visit / "views.json",
        "--trust",
        "--write",
        "classes",
        "--output-suffix",
        "_mask",
    ]
    for more in ((), ("--dry-run",)):
        done = batch(*arguments, *more)
        assert done.returncode == 2 and "segrid did not write this file" in " ".join(
            done.stderr.split()
        )
    assert mine.read_bytes() == content and not (visit / "in/f2_front_mask.png").exists()
    done = batch(*arguments, "--skip-existing")
    assert done.returncode == 0 and "3 of 3 images done (1 earlier), 0 quarantined" in done.stdout
    assert mine.read_bytes() == content and (visit / "in/f2_front_mask.png").exists()
    (visit / "in/manifest.jsonl").unlink()
    done = batch(*arguments, "--skip-existing")
    assert "3 of 3 images done (3 earlier)" in done.stdout
    # This is the state of a run that was killed before its first record.
    (visit / "in/manifest.jsonl").write_text("")
    mine.unlink()
    assert batch(*arguments).returncode == 0 and mine.read_bytes() != content


@pytest.mark.parametrize(
    "more,what",
    [
        (("--output-suffix", "_mask"), "add classes to --write"),
        (("--write", "classes", "--output-suffix", ""), "a part of a file's name"),
        (("--write", "classes", "--output-suffix", "a/b"), "a part of a file's name"),
        (("--exclude-suffix", ""), "ends every name"),
    ],
)
def test_suffixes_that_name_nothing(visit, more, what):
    done = batch(visit / "in", "-o", visit / "out", *more)
    assert done.returncode == 2 and what in " ".join(done.stderr.split())
    assert not (visit / "out").exists()


def test_class_pictures_of_every_size_are_ours(tmp_path, monkeypatch):
    """Pillow's own limit of pixels, which warns or raises, does not apply."""
    path = tmp_path / "a_mask.png"
    text = PngInfo()
    text.add_text("Software", "segrid")
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(path, pnginfo=text)
    for limit in (1500, 10):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert is_class_picture(path)
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(path)
    assert not is_class_picture(path)
    for content in (b"", b"no PNG", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        path.write_bytes(content)
        assert not is_class_picture(path)


def test_skip_existing_takes_what_is_there(visit):
    """An image whose files exist counts as done, whatever the options were and without a record.
    The same holds for objects."""
    arguments = [
        visit / "in",
        "-o",
        visit / "out",
        "--points-per-side",
        2,
        "--write",
        "coco,objects",
    ]
    assert batch(*arguments).returncode == 0
    merged = (visit / "out/coco.json").read_bytes()
    for file in ("manifest.jsonl", "coco/f1_front.json", "coco.json"):
        (visit / "out" / file).unlink()
    made = (visit / "out/coco/f2_front.json").stat().st_mtime_ns
    told = json.loads(batch(*arguments, "--skip-existing", "--json").stdout)
    assert (told["done"], told["earlier"], told["skipped"]) == (3, 2, 2)
    assert (visit / "out/coco/f2_front.json").stat().st_mtime_ns == made
    assert (visit / "out/coco.json").read_bytes() == merged


def test_dry_run_writes_nothing_and_counts_views(visit):
    def tree():
        return {f: f.stat().st_mtime_ns for f in visit.rglob("*")}

    arguments = [
        visit / "in",
        "-o",
        visit / "out",
        "--views",
        visit / "views.json",
        "--trust",
        "--write",
        "classes",
    ]
    before = tree()
    done = batch(*arguments, "--dry-run")
    assert done.returncode == 0 and tree() == before
    assert "3 images, 0 done already, 0 quarantined, 3 to do" in done.stdout
    assert "front: 2 images, 0 done already" in done.stdout and "top: 1 images" in done.stdout
    (visit / "in/p2/bad_top.png").write_text("no image")
    assert batch(*arguments, "--view", "top").returncode == 1
    before = tree()
    told = json.loads(batch(*arguments, "--dry-run", "--json").stdout)
    assert tree() == before and told == {
        "images": 4,
        "done": 1,
        "quarantined": 1,
        "todo": 2,
        "views": {
            "front": {"images": 2, "done": 0, "quarantined": 0, "todo": 2},
            "top": {"images": 2, "done": 1, "quarantined": 1, "todo": 0},
        },
    }
    assert json.loads(batch(*arguments, "--dry-run", "--retry", "--json").stdout)["todo"] == 3
    done = batch(visit / "in", "-o", visit / "out", "--dry-run")
    assert done.returncode == 2 and "other options" in " ".join(done.stderr.split())


def test_a_view_for_all_images(visit):
    """`--view front` applies a view without a pattern to all images, as in the dental tool."""
    rules = {"front": {"detector": "front.torchscript"}, "top": {"detector": "top.torchscript"}}
    (visit / "views.json").write_text(json.dumps(rules))
    arguments = [
        visit / "in",
        "-o",
        visit / "out",
        "--views",
        visit / "views.json",
        "--trust",
        "--write",
        "classes",
        "--json",
    ]
    done = batch(*arguments, "--view", "front")
    assert done.returncode == 0 and json.loads(done.stdout)["images"] == 3, done.stderr
    done = batch(*arguments)
    assert done.returncode == 2 and "view 'front': no pattern" in " ".join(done.stderr.split())


def test_values():
    assert classes_of(["a", "b", "a"]) == Classes(("a", "b"))
    assert Classes(("11", "12", "crown", "3")).values() == {"11": 11, "12": 12, "crown": 13, "3": 3}
    assert Classes(("a", "b", "2")).values() == {"a": 1, "b": 3 + 1, "2": 2}
    assert Classes(("0", "1", "011", "1.5", "-2", "²")).values() == {
        "0": 7,
        "1": 1,
        "011": 3,
        "1.5": 4,
        "-2": 5,
        "²": 6,
    }
    for names in (("a", "b", "2"), ("0", "1"), ("5", "4", "x", "y", "3"), tuple("9876543210")):
        values = Classes(names).values()
        assert len(set(values.values())) == len(names) and min(values.values()) > 0
    unnamed = Classes(("a", "30"))
    assert unnamed.value("class 4", 4) == 35 and unnamed.category("class 4", 4) == 7
    assert unnamed.categories({"class 4": 7, "a": 1})[-1] == {"id": 7, "name": "class 4"}
    assert Classes(()).category("class 4", 4) == Classes(()).value("class 4", 4) == 5
    with pytest.raises(ValueError, match="values up to 65535"):
        Classes(("65535",)).value("class 0", 0)


def test_higher_scores_lie_above_and_large_values_take_16_bits(tiny):
    image = np.zeros((40, 50, 3), np.uint8)
    image[5:20, 5:20], image[10:30, 10:30] = 200, (250, 40, 40)
    found = segrid.Pipeline(None, tiny)(
        image, boxes=[[4, 4, 20, 20], [9, 9, 30, 30]], labels=["7", "300"]
    )
    kinds = {
        "boxes": found.boxes,
        "labels": found.labels,
        "class_id": found.class_id,
        "size": found.size,
        "masks": found.masks,
    }
    a, b = found.masks.array
    assert (a & b).any()
    for scores, first in (([0.9, 0.2], 0), ([0.2, 0.9], 1), ([0.5, 0.5], 0)):
        made = class_map(segrid.Detections(scores=scores, **kinds), Classes(("7", "300")))
        assert made.dtype == np.uint16
        order = ((b, 300), (a, 7)) if first == 0 else ((a, 7), (b, 300))
        expected = np.zeros((40, 50), np.uint16)
        for mask, value in order:
            expected[mask] = value
        assert np.array_equal(made, expected)
    assert set(np.unique(class_map(found.masks, Classes(("object",))))) == {0, 1}


def test_names_in_files_that_are_none(tmp_path):
    (tmp_path / "a").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("b/extra/config.txt", "[1]")
    with zipfile.ZipFile(tmp_path / "c", "w") as archive:
        archive.writestr("c/extra/config.txt", '{"names": {"x": "y"}}')
    assert names_in(tmp_path / "a") == names_in(tmp_path / "b") == names_in(tmp_path / "c") == []
    assert names_in(tmp_path / "missing") == []
