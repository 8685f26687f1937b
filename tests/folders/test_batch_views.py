"""`segrid batch --views FILE`: a detector for each kind of image, by rules in a file."""

import json

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

RULES = {
    "front": {"pattern": "*_front.*", "prompts": ["a red circle"], "threshold": 0},
    "rest": {
        "pattern": ["*_side.*"],
        "prompts": [["a star", "stars"]],
        "threshold": 0.0,
        "nms": 0.1,
    },
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """The file of RULES."""
    file = tmp_path_factory.mktemp("rules") / "views.json"
    file.write_text(json.dumps(RULES))
    return file


@pytest.fixture(scope="module")
def all_views(batch, photos, rules, tmp_path_factory):
    """The output folder of a run over both views."""
    out = tmp_path_factory.mktemp("all") / "out"
    sizes = ["--io-workers", 2, "--sam-batch-size", 3, "--image-batch-size", 1]
    done = batch(photos, "-o", out, "--views", rules, "--write", "csv,coco", *sizes)
    assert done.returncode == 0, done.stderr
    return out


def test_each_view_has_its_detector(photos, all_views):
    detector, segmenter = segrid.Detector("tiny-detector"), segrid.Segmenter("tiny")
    for file in photos.iterdir():
        front = "Front" in file.name
        found = segrid.Pipeline(detector, segmenter)(
            file,
            "a red circle" if front else [["a star", "stars"]],
            threshold=0,
            nms=None if front else 0.1,
        )
        lines = (all_views / f"table/{file.stem}.csv").read_text().splitlines()
        assert len(lines) == len(found) + 1 and all(
            f",{found.labels[0]}," in line for line in lines[1:]
        )


def test_views_go_one_after_the_other_into_one_coco_file(all_views):
    merged = json.loads((all_views / "coco.json").read_text())
    names = {e["id"]: e["name"] for e in merged["categories"]}
    files = {e["id"]: e["file_name"] for e in merged["images"]}
    assert {
        (names[a["category_id"]], "Front" in files[a["image_id"]]) for a in merged["annotations"]
    } == {("a red circle", True), ("a star", False)}
    lines = (all_views / "manifest.jsonl").read_text().splitlines()[1:]
    order = [json.loads(line)["image"] for line in lines]
    assert ["Front" in name for name in order] == [True] * 3 + [False] * 3


def test_one_view_and_then_the_rest(batch, photos, rules, all_views, tmp_path):
    out = tmp_path / "front"
    arguments = [photos, "-o", out, "--views", rules, "--write", "csv", "--json"]
    done = batch(*arguments, "--view", "front")
    assert done.returncode == 0 and json.loads(done.stdout)["images"] == 3
    assert sorted(p.name for p in (out / "table").iterdir()) == [
        f"p{i}_Front.csv" for i in (1, 3, 5)
    ]
    for f in (out / "table").iterdir():
        assert f.read_bytes() == (all_views / "table" / f.name).read_bytes()
    # A file of no view does not get in the way of files that a view names.
    other = photos / "other.png"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(other)
    told = batch(*arguments, "--view", "front")
    assert told.returncode == 0 and json.loads(told.stdout)["skipped"] == 3
    assert batch(other, "-o", tmp_path / "none", "--views", rules).returncode == 2
    other.unlink()
    # The rest follows into the same folder.
    told = json.loads(batch(*arguments).stdout)
    assert told["images"] == 6 and told["skipped"] == 3 and told["done"] == 6


def test_images_of_a_changed_view_are_done_again(batch, photos, tmp_path):
    rules, out = tmp_path / "views.json", tmp_path / "out"
    rules.write_text(json.dumps(RULES))
    arguments = [photos, "-o", out, "--views", rules, "--write", "csv", "--json"]
    assert json.loads(batch(*arguments).stdout)["done"] == 6
    rules.write_text(json.dumps({**RULES, "rest": {**RULES["rest"], "threshold": 0.9999}}))
    told = json.loads(batch(*arguments).stdout)
    assert told["skipped"] == 3 and told["done"] == 6
    for i in (0, 2, 4):
        assert len((out / f"table/p{i}_side.csv").read_text().splitlines()) == 1


def test_an_image_of_no_view_fails_alone(batch, photos, tmp_path):
    rules, out = tmp_path / "views.json", tmp_path / "out"
    rules.write_text(json.dumps({"front": RULES["front"]}))
    arguments = [photos, "-o", out, "--views", rules, "--write", "csv", "--json"]
    dry = batch(*arguments, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    views = json.loads(dry.stdout)["views"]
    assert [v["todo"] for v in views.values()] == [3, 3] and any("no view" in v for v in views)
    done = batch(*arguments)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["done"] == 3 and len(told["quarantined"]) == 3
    assert all("add a view with a pattern that fits" in why for why in told["quarantined"].values())
    rules.write_text(json.dumps(RULES))  # the remedy: these images alone are done
    told = json.loads(batch(*arguments).stdout)
    assert told["done"] == 6 and told["skipped"] == 3 and not told["quarantined"]


@pytest.mark.parametrize(
    "content,arguments,what",
    [
        ("[]", (), "expected"),
        ("{", (), "not JSON"),
        ('{"a": {"detector": "x"}}', (), "no pattern"),
        ('{"a": {"pattern": "*", "model": 1}}', (), "unknown model"),
        ('{"a": {"pattern": "*_back.*", "prompts": ["a"]}}', (), "add a view with a pattern"),
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
    """These options change no output, so the test looks at the arguments of the stream."""
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
    """The masks are the same for any number of boxes, so the test looks at the options of the
    job."""
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
    """Finds the middle half of every image."""

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
    """A clinic's use: one file for each view, low thresholds, one PNG for each object."""
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
