"""`segrid batch --views FILE`: a detector for each kind of picture, by rules in a file."""

import json

import numpy as np
import pytest
import segrid
import torch
from PIL import Image


def test_batch(batch, photos, tmp_path):
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
        photos,
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
    for file in photos.iterdir():
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
        photos,
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
    other = photos / "other.png"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(
        other
    )  # of no view: in the way of none that is named
    told = batch(
        photos,
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
        batch(photos, "-o", tmp_path / "front", "--views", rules, "--write", "csv", "--json").stdout
    )  # the rest follows into the same folder
    assert told["images"] == 6 and told["skipped"] == 3 and told["done"] == 6
    changed = json.loads(rules.read_text())
    changed["rest"]["threshold"] = 0.9999
    rules.write_text(json.dumps(changed))
    told = json.loads(
        batch(photos, "-o", tmp_path / "front", "--views", rules, "--write", "csv", "--json").stdout
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
def test_mistakes_are_said_before_anything_runs(batch, photos, tmp_path, content, arguments, what):
    (tmp_path / "views.json").write_text(content)
    done = batch(photos, "-o", tmp_path / "out", "--views", tmp_path / "views.json", *arguments)
    assert done.returncode == 2 and what in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "out").exists()


def test_limits_and_precision_arrive(photos, tmp_path, monkeypatch):
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
                str(photos),
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


def test_how_many_boxes_at_once_reaches_the_model(tiny, photos, tmp_path):
    """Its masks are the same, so that outputs do not tell."""
    from segrid.folders.inputs import collect
    from segrid.folders.job_plan import JobRequest, plan_job

    (tmp_path / "views.json").write_text('{"a": {"pattern": "*", "prompts": ["a"]}}')
    (tmp_path / "boxes.json").write_text(
        json.dumps({f.name: [[1, 2, 30, 30]] for f in photos.iterdir()})
    )
    images = collect([str(photos)])
    for asked in (
        {"prompts": ["a"]},
        {"boxes": tmp_path / "boxes.json"},
        {"views": tmp_path / "views.json"},
    ):
        assert (
            plan_job(tiny, JobRequest(**asked, sam_batch_size=3), images, {}).options["batch_size"]
            == 3
        )
        assert "batch_size" not in plan_job(tiny, JobRequest(**asked), images, {}).options
    assert plan_job(tiny, JobRequest(), images, {"max_masks": 3}).options == {"max_masks": 3}


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
def test_files_of_torchscript(batch, photos, tmp_path, tiny, way):
    """A clinic's: one file for each view, low thresholds, one PNG for each object."""
    file = tmp_path / "front.torchscript"
    torch.jit.save(torch.jit.script(Middle()), str(file))
    (tmp_path / "views.json").write_text(
        '{"front": {"pattern": "*_front.*", "detector": "front.torchscript"}}'
    )
    one = photos / "p1_Front.png"
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
