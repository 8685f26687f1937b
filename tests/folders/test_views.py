"""A detector for each kind of picture, told by the file's name."""

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import segrid
import torch
from PIL import Image
from segrid.views import read_views

WHOLE = np.array([[4, 5, 60, 50]])


class Finder:
    """A detector that says where it was told, and how often it was asked."""

    def __init__(self, boxes, name):
        self.boxes, self.name, self.asked = boxes, name, 0

    def __call__(self, image):
        self.asked += 1
        return {"boxes": self.boxes, "labels": [self.name] * len(self.boxes)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("views") / "in"
    root.mkdir()
    rng = np.random.default_rng(4)
    for i in range(6):
        small = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90, 70), Image.BICUBIC).save(
            root / f"p{i}_{'Front' if i % 2 else 'side'}.png"
        )
    return root


def views(tiny):
    return segrid.Views(
        {
            "front": segrid.View("*_front.*", Finder(WHOLE, "tooth")),
            "rest": segrid.View(("*_side.*", "*_top.*"), Finder(WHOLE / 2, "jaw")),
        },
        tiny,
    )


def test_by_the_name_of_the_file(tiny, folder):
    model, files = views(tiny), sorted(folder.iterdir())
    assert [model.view_of(f) for f in files] == ["rest", "front"] * 3 and model.view_of(
        "A_TOP.jpg"
    ) == "rest"
    for file, one in zip(files, segrid.stream(model, files), strict=True):
        boxes = WHOLE if "Front" in file.name else WHOLE / 2
        assert np.array_equal(
            one.result.masks.array, tiny.predict(file, boxes=boxes, anywhere=True).array
        )
        assert one.result.labels == ["tooth" if "Front" in file.name else "jaw"]
    assert model.views["front"].detector.asked == 3 and np.array_equal(
        model(files[0]).boxes, WHOLE / 2
    )
    pixels = np.asarray(Image.open(files[0]))
    assert np.array_equal(model(pixels, view="front").boxes, WHOLE)
    with pytest.raises(ValueError, match="of no view"):
        model.view_of("x.png")
    with pytest.raises(ValueError, match="has no name"):
        model(pixels)
    with pytest.raises(ValueError, match="there are front, rest"):
        model(pixels, view="back")
    with pytest.raises(ValueError, match="there are front, rest"):
        model.only(["back"])
    with pytest.raises(ValueError, match="there are none"):
        segrid.Views({}, tiny)
    with pytest.raises(ValueError, match="threshold"):
        segrid.View("*", threshold=2)
    assert list(model.only(["rest"]).views) == ["rest"] and list(
        pickle.loads(pickle.dumps(model)).views
    ) == ["front", "rest"]


def test_each_detector_is_loaded_once(tiny, folder, monkeypatch):
    loaded = []
    plain = segrid.Detector.__init__
    monkeypatch.setattr(
        segrid.Detector,
        "__init__",
        lambda self, *a, **k: (loaded.append(a), plain(self, *a, **k))[1],
    )
    model = segrid.Views(
        {
            "front": segrid.View("*_front.*", prompts="a"),
            "side": segrid.View("*_side.*", prompts="b"),
            "top": segrid.View("*_top.*"),
        },
        tiny,
    )
    assert loaded == []
    done = list(segrid.stream(model, sorted(folder.iterdir()) * 2))
    assert all(one.error is None for one in done)
    alone = model.with_threads(1)
    assert (
        alone.pipeline("front").segmenter is alone.segmenter
        and model.pipeline("front").segmenter is model.segmenter
    )  # whoever loaded it
    assert (
        alone.pipeline("side").detector._arguments["threads"] == 1
        and model.pipeline("side").detector._arguments["threads"] is None
        and len(loaded) == 2
    )


class Poses:
    """A function path -> view, as one that reads camera poses: counts its calls, can be pickled."""

    def __init__(self, **told):
        self.told, self.asked = told, []

    def __call__(self, path):
        self.asked.append((path, threading.current_thread().name))
        found = self.told[Path(path).stem[:2]]
        if isinstance(found, Exception):
            raise found
        return found


def test_a_function_tells_the_view(tiny, folder):
    files = sorted(folder.iterdir())
    poses = Poses(
        p0="front", p1=None, p2="back", p3="rest", p4=KeyError("no pose for p4"), p5="front"
    )
    finders = {"front": Finder(WHOLE, "tooth"), "rest": Finder(WHOLE / 2, "jaw")}
    model = segrid.Views(
        {name: segrid.View(detector=finder) for name, finder in finders.items()},
        tiny,
        view_of=poses,
    )
    seen = list(segrid.stream(model, files))
    assert [one.index for one in seen] == [0, 2, 3, 4, 5]  # None leaves the image out
    assert [one.result and one.result.labels for one in seen] == [
        ["tooth"],
        None,
        ["jaw"],
        None,
        ["tooth"],
    ]
    assert str(seen[1].error) == f"{files[2]}: view_of returned 'back'; there are front, rest"
    assert isinstance(seen[3].error, KeyError)
    assert poses.asked == [(f, threading.main_thread().name) for f in files]  # each once
    assert np.array_equal(seen[2].result.masks.array, tiny.predict(files[3], boxes=WHOLE / 2).array)
    assert model(files[0]).labels == ["tooth"] and model(files[1], view="rest").labels == ["jaw"]
    with pytest.raises(ValueError, match="leaves this image out"):
        model(files[1])
    for same in (pickle.loads(pickle.dumps(model)), model.with_threads(1)):
        assert [same.view_of(f) for f in (files[0], files[1], files[3])] == ["front", None, "rest"]
    alone = model.only(["rest"])
    assert [alone.view_of(f) for f in (files[0], files[1], files[3])] == [None, None, "rest"]
    assert [one.index for one in segrid.stream(alone, files) if one.error is None] == [3]
    with pytest.raises(ValueError, match="returned 'back'; there are rest"):
        alone.view_of(files[2])
    beside = segrid.Views(
        {"front": segrid.View("*_side.*", finders["front"]), "rest": segrid.View()},
        tiny,
        view_of=lambda path: "rest",
    )
    assert beside.view_of(files[0]) == "rest"  # patterns are not looked at
    patterns = segrid.Views({"front": segrid.View("*_side.*"), "rest": segrid.View()}, tiny)
    assert patterns.view_of(files[0]) == "front"
    with pytest.raises(ValueError, match="of no view"):
        patterns.view_of(files[1])


def batch(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "segrid", "batch", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_batch(folder, tmp_path):
    rules = tmp_path / "views.json"
    rules.write_text(
        json.dumps(
            {
                "front": {"pattern": "*_front.*", "prompts": ["a red circle"], "threshold": 0},
                "rest": {
                    "pattern": ["*_side.*"],
                    "prompts": [["a star", "stars"]],
                    "threshold": 0.0,
                    "nms": 0.1,
                },
            }
        )
    )
    done = batch(
        folder,
        "-o",
        tmp_path / "all",
        "--views",
        rules,
        "--write",
        "csv,coco",
        "--io-workers",
        2,
        "--sam-batch-size",
        3,
        "--image-batch-size",
        1,
    )
    assert done.returncode == 0, done.stderr
    detector, segmenter = segrid.Detector("tiny-detector"), segrid.Segmenter("tiny")
    for file in folder.iterdir():
        front = "Front" in file.name
        found = segrid.Pipeline(detector, segmenter)(
            file,
            "a red circle" if front else [["a star", "stars"]],
            threshold=0,
            nms=None if front else 0.1,
        )
        lines = (tmp_path / f"all/table/{file.stem}.csv").read_text().splitlines()
        assert len(lines) == len(found) + 1 and all(
            f",{found.labels[0]}," in line for line in lines[1:]
        )
    merged = json.loads((tmp_path / "all/coco.json").read_text())
    names, files = (
        {e["id"]: e[key] for e in merged[of]}
        for of, key in (("categories", "name"), ("images", "file_name"))
    )
    assert {
        (names[a["category_id"]], "Front" in files[a["image_id"]]) for a in merged["annotations"]
    } == {("a red circle", True), ("a star", False)}
    order = [
        json.loads(line)["image"]
        for line in (tmp_path / "all/manifest.jsonl").read_text().splitlines()[1:]
    ]
    assert ["Front" in name for name in order] == [True] * 3 + [False] * 3
    done = batch(
        folder,
        "-o",
        tmp_path / "front",
        "--views",
        rules,
        "--view",
        "front",
        "--write",
        "csv",
        "--json",
    )
    assert done.returncode == 0 and json.loads(done.stdout)["images"] == 3
    assert sorted(p.name for p in (tmp_path / "front/table").iterdir()) == [
        f"p{i}_Front.csv" for i in (1, 3, 5)
    ]
    for f in (tmp_path / "front/table").iterdir():
        assert f.read_bytes() == (tmp_path / "all/table" / f.name).read_bytes()
    other = folder / "other.png"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(
        other
    )  # of no view: in the way of none that is named
    told = batch(
        folder,
        "-o",
        tmp_path / "front",
        "--views",
        rules,
        "--view",
        "front",
        "--write",
        "csv",
        "--json",
    )
    assert told.returncode == 0 and json.loads(told.stdout)["skipped"] == 3
    assert batch(other, "-o", tmp_path / "none", "--views", rules).returncode == 2
    other.unlink()
    told = json.loads(
        batch(folder, "-o", tmp_path / "front", "--views", rules, "--write", "csv", "--json").stdout
    )  # the rest follows into the same folder
    assert told["images"] == 6 and told["skipped"] == 3 and told["done"] == 6
    changed = json.loads(rules.read_text())
    changed["rest"]["threshold"] = 0.9999
    rules.write_text(json.dumps(changed))
    told = json.loads(
        batch(folder, "-o", tmp_path / "front", "--views", rules, "--write", "csv", "--json").stdout
    )  # images of that view are done again
    assert (
        told["skipped"] == 3
        and len((tmp_path / "front/table/p0_side.csv").read_text().splitlines()) == 1
    )


@pytest.mark.parametrize(
    "content,arguments,what",
    [
        ("[]", (), "expected"),
        ("{", (), "not JSON"),
        ('{"a": {"detector": "x"}}', (), "no pattern"),
        ('{"a": {"pattern": "*", "model": 1}}', (), "unknown model"),
        ('{"a": {"pattern": "*_front.*", "prompts": ["a"]}}', (), "of no view"),
        ('{"a": {"pattern": "*"}}', (), "say what to look for"),
        ('{"a": {"pattern": "*", "prompts": ["a"]}}', ("--view", "b"), "there are a"),
        ('{"a": {"pattern": "*", "prompts": ["a"], "nms": 7}}', (), "nms"),
        ('{"a": {"pattern": 5}}', (), "pattern must be"),
        ('{"a": {"pattern": "*", "threshold": "0.01"}}', (), "threshold must be a number"),
        ('{"a": {"pattern": "*", "prompts": 5}}', (), "prompts must be"),
        ('{"a": {"pattern": "*", "detector": null}}', (), "detector must be a text"),
        ('{"a": {"pattern": "*", "prompts": ["a"]}}', ("--prompt", "b"), "not several"),
        (
            '{"a": {"pattern": "*", "prompts": ["a"]}, "b": {"pattern": "none", "prompts": ["b"]}}',
            ("--view", "b"),
            "none of 6",
        ),
    ],
)
def test_mistakes_are_said_before_anything_runs(folder, tmp_path, content, arguments, what):
    (tmp_path / "views.json").write_text(content)
    done = batch(folder, "-o", tmp_path / "out", "--views", tmp_path / "views.json", *arguments)
    assert done.returncode == 2 and what in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "out").exists()


def test_limits_and_precision_arrive(folder, tmp_path, monkeypatch):
    """They change no output, so that outputs do not tell."""
    from segrid.cli.app import app
    from segrid.folders import run as folders_run
    from typer.testing import CliRunner

    given, plain = {}, folders_run.stream
    monkeypatch.setattr(
        folders_run, "stream", lambda *a, **k: (given.update(k, model=a[0]), plain(*a, **k))[1]
    )
    (tmp_path / "views.json").write_text('{"a": {"pattern": "*", "prompts": ["a"]}}')
    for source in (["--views", str(tmp_path / "views.json")], ["--prompt", "a"]):
        done = CliRunner().invoke(
            app,
            [
                "batch",
                str(folder),
                "-o",
                str(tmp_path / source[0]),
                *source,
                "--image-batch-size",
                "3",
                "--io-workers",
                "4",
                "--sam-batch-size",
                "5",
                "--precision",
                "int8",
                "--write",
                "csv",
            ],
        )
        assert done.exit_code == 0, done.output
        assert (given["image_batch_size"], given["io_workers"], given["batch_size"]) == (3, 4, 5)
        pipeline = given["model"].pipeline("a") if source[0] == "--views" else given["model"]
        assert pipeline.detector.precision == pipeline.segmenter.precision == "int8"


def test_files_beside_the_rules(tmp_path):
    (tmp_path / "front.torchscript").write_bytes(b"")
    (tmp_path / "views.json").write_text(
        '{"a": {"pattern": "*", "detector": "front.torchscript"}, '
        '"b": {"pattern": "*", "detector": "google/owlv2", "nms": 0.5}}'
    )
    found = read_views(tmp_path / "views.json", 0.3, 0.7)
    assert (
        found["a"].detector == str(tmp_path / "front.torchscript")
        and found["b"].detector == "google/owlv2"
    )
    assert (found["a"].threshold, found["a"].nms, found["b"].nms) == (0.3, 0.7, 0.5)


def test_how_many_boxes_at_once_reaches_the_model(tiny, folder, tmp_path):
    """Its masks are the same, so that outputs do not tell."""
    from segrid.folders.inputs import collect
    from segrid.folders.machine import Asked, machine

    (tmp_path / "views.json").write_text('{"a": {"pattern": "*", "prompts": ["a"]}}')
    (tmp_path / "boxes.json").write_text(
        json.dumps({f.name: [[1, 2, 30, 30]] for f in folder.iterdir()})
    )
    images = collect([str(folder)])
    for asked in (
        {"prompts": ["a"]},
        {"boxes": tmp_path / "boxes.json"},
        {"views": tmp_path / "views.json"},
    ):
        assert (
            machine(tiny, Asked(**asked, sam_batch_size=3), images, {}).options["batch_size"] == 3
        )
        assert "batch_size" not in machine(tiny, Asked(**asked), images, {}).options
    assert machine(tiny, Asked(), images, {"max_masks": 3}).options == {"max_masks": 3}


class Middle(torch.nn.Module):
    """Finds the middle half of every picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = float(x.size(2))
        return torch.tensor(
            [
                [
                    [side / 4, side / 4, 3 * side / 4, 3 * side / 4, 0.8, 0.0],
                    [0.0, 0.0, side, side, 0.005, 0.0],
                ]
            ]
        )


@pytest.mark.parametrize("way", ["detector", "views"])
def test_files_of_torchscript(folder, tmp_path, tiny, way):
    """A clinic's: one file for each view, low thresholds, one PNG for each object."""
    file = tmp_path / "front.torchscript"
    torch.jit.save(torch.jit.script(Middle()), str(file))
    (tmp_path / "views.json").write_text(
        '{"front": {"pattern": "*_front.*", "detector": "front.torchscript"}}'
    )
    one = folder / "p1_Front.png"
    source = (
        ["--detector", file]
        if way == "detector"
        else ["--views", tmp_path / "views.json", "--view", "front"]
    )
    arguments = [
        one,
        "-o",
        tmp_path / "out",
        *source,
        "--conf-threshold",
        "0.01",
        "--write",
        "objects,csv",
    ]
    done = batch(*arguments)
    assert done.returncode == 2 and "trust" in done.stderr and not (tmp_path / "out").exists()
    done = batch(*arguments, "--trust")
    assert done.returncode == 0, done.stderr
    wanted = segrid.Pipeline(segrid.ScriptedDetector(file, trust=True), tiny)(one, threshold=0.01)
    assert len(wanted) == 1 and [p.name for p in (tmp_path / "out/objects/p1_Front").iterdir()] == [
        "0001.png"
    ]
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "out/objects/p1_Front/0001.png")) > 0,
        segrid.Segmenter("tiny").predict(one, boxes=wanted.boxes, anywhere=True).array[0],
    )
    asked = batch(one, "-o", tmp_path / "more", *source, "--prompt", "a", "--trust")
    assert asked.returncode == 2 and (
        "takes no --prompt" if way == "detector" else "not several"
    ) in " ".join(asked.stderr.split())
