"""`segrid batch`: prompts, writers, help, and wrong options."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import segrid
from PIL import Image


@pytest.mark.parametrize("option", ["--boxes", "--views", "--profile"])
def test_the_option_of_a_wrong_file_is_named(batch, fields, tmp_path, option):
    file = tmp_path / "nope.json"
    for content, what in ((None, "No such file"), ("words", "not JSON"), ("3", "expected|profile")):
        if content is not None:
            file.write_text(content)
        done = batch(fields / "a", "-o", tmp_path / "out", option, file)
        said = " ".join(done.stderr.split())
        assert done.returncode == 2 and f"{option}: " in said and str(file) in said, said
        assert re.search(what, said)


def test_boxes_and_words(batch, fields, tmp_path):
    one = fields / "a/field 01.png"
    (tmp_path / "boxes.json").write_text(
        json.dumps({"field 01.png": [[5, 5, 40, 40], [10, 20, 60, 50]]})
    )
    assert (
        batch(
            one,
            "-o",
            tmp_path / "boxes",
            "--boxes",
            tmp_path / "boxes.json",
            "--write",
            "coco,objects",
        ).returncode
        == 0
    )
    assert len(list((tmp_path / "boxes/objects/field 01").iterdir())) == 2
    words = [fields / "a", "-o", tmp_path / "other", "--boxes", tmp_path / "boxes.json"]
    words += ["--write", "csv", "--json"]
    done = batch(*words)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["done"] == 1 and told["images"] > 1, done.stderr
    name, why = next(iter(told["quarantined"].items()))
    assert f"no entry for {name}" in why and "or [] where there are no boxes" in why
    given = json.loads((tmp_path / "boxes.json").read_text())
    given |= dict.fromkeys(told["quarantined"], [])
    (tmp_path / "boxes.json").write_text(json.dumps(given))
    told = json.loads(batch(*words).stdout)  # the remedy: these images alone are done
    assert told["done"] == told["images"] and told["skipped"] == 1
    (tmp_path / "boxes.json").write_text('{"other.png": []}')
    done = batch(*words)
    assert done.returncode == 2 and "no entry for any of" in " ".join(done.stderr.split())
    done = batch(
        one,
        "-o",
        tmp_path / "words",
        "--prompt",
        "a red circle",
        "--conf-threshold",
        "0",
        "--write",
        "csv",
    )
    assert (
        done.returncode == 0
        and "a red circle" in (tmp_path / "words/table/field 01.csv").read_text()
    )


def test_every_writer(batch, fields, tmp_path):
    import pyarrow.parquet as pq

    one = fields / "a/field 01.png"
    assert (
        batch(
            one,
            "-o",
            tmp_path / "out",
            "--points-per-side",
            "6",
            "--write",
            "coco,tiff,objects,csv,parquet,geojson,labels,overlay",
        ).returncode
        == 0
    )
    labels = np.asarray(Image.open(tmp_path / "out/labels/field 01.tif"))
    count = labels.max()
    assert count > 0 and np.array_equal(
        labels, np.asarray(Image.open(tmp_path / "out/labels/field 01.png"))
    )
    features = json.loads((tmp_path / "out/geojson/field 01.geojson").read_text())["features"]
    table = pq.read_table(tmp_path / "out/table/field 01.parquet").to_pylist()
    coco = json.loads((tmp_path / "out/coco/field 01.json").read_text())["annotations"]
    assert (
        len(features)
        == len(table)
        == len(coco)
        == count
        == len(list((tmp_path / "out/objects/field 01").iterdir()))
    )
    measured = (
        segrid.Segmenter("tiny")
        .everything(one, points_per_side=6)
        .measure(np.asarray(Image.open(one)))
    )
    np.testing.assert_allclose(
        [[row["major_axis"], row["minor_axis"]] for row in table], measured["axes"], rtol=1e-5
    )
    np.testing.assert_allclose(
        [[row["mean_red"], row["mean_green"], row["mean_blue"]] for row in table],
        measured["intensity"],
        rtol=1e-5,
    )
    np.testing.assert_allclose([row["angle"] for row in table], measured["angle"], rtol=1e-5)
    for feature, row, record in zip(features, table, coco, strict=True):
        assert (
            feature["properties"]["area"] == row["area"] == record["area"]
            and row["rle"] == record["segmentation"]["counts"]
        )
        shape = feature["geometry"]["coordinates"]
        outer = shape[0] if feature["geometry"]["type"] == "Polygon" else shape[0][0]
        assert outer[0] == outer[-1] and len(outer) >= 5


def test_no_two_images_write_the_same_files(fields, tmp_path):
    from segrid.compat.microscopy import _stems
    from segrid.folders.inputs import collect
    from segrid.folders.writers import atomic_write

    for name in ("a.png", "a.jpg", "a.png.jpg", "b.png"):
        (tmp_path / name).write_bytes((fields / "a/field 01.png").read_bytes())
    assert len({i.stem for i in collect([str(tmp_path)])}) == 4
    stems = _stems([tmp_path / "x/a.tif", tmp_path / "y/a.tif", tmp_path / "z/a-2.tif"])
    assert len(set(stems)) == 3 and stems[0] == "a"
    long = "猫" * 80 + ".png"
    with atomic_write(tmp_path / long) as one, atomic_write(tmp_path / ("x" + long[1:])) as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / long).read_text() == "1"
    with pytest.raises(OSError, match="w.png: only words"):
        with atomic_write(tmp_path / "w.png"):
            raise OSError("only words")


def test_wrong_mixtures_set_nothing_aside(batch, fields, tmp_path):
    one, boxes = fields / "a/field 01.png", tmp_path / "b.json"
    boxes.write_text('{"field 01.png": [[1, 2, 30, 30]]}')
    for arguments, what in (
        (("--boxes", boxes, "--detector", "tiny-detector"), "not several"),
        (("--view", "a"), "--views FILE"),
        (("--detector", "tiny-detector"), "--prompt"),
        (("--prompt", "a", "--nms", "3"), "--nms"),
        (("--points-per-side", "0"), "points-per-side"),
        (("--max-masks", "-1"), "max_masks"),
        (("--crop-n-layers", "6"), "crop_n_layers"),
        (("--crop-n-layers", "5"), "points over all crops"),
    ):
        done = batch(one, "-o", tmp_path / "out", *arguments)
        assert done.returncode == 2 and what in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "out").exists()


def test_files_are_whole_or_not_there(tmp_path):
    from segrid._files import atomic_write, write_text

    target = tmp_path / "deep/labels.png"
    with pytest.raises(KeyError), atomic_write(target) as part:
        part.write_bytes(b"half")
        assert not target.exists()
        raise KeyError
    assert list(target.parent.iterdir()) == []
    write_text(target, "old")
    with pytest.raises(OSError, match="labels.png"), atomic_write(target) as part:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old" and len(list(target.parent.iterdir())) == 1


def test_help_says_what_it_means():
    done = subprocess.run(
        [sys.executable, "-m", "segrid", "batch", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "400", "TERM": "dumb"},
    )
    text = " ".join(done.stdout.split())
    assert '{"image.png": [[x0, y0, x1, y1], ...], ...}' in text
    assert "In Python, Segmenter.everything and segrid.stream take 0" in text
    for part in (
        "--output-suffix",
        "--exclude-suffix",
        "--skip-existing",
        "--dry-run",
        "--lenient",
        "classes.json",
    ):
        assert part in text
    import inspect

    assert inspect.signature(segrid.Segmenter.everything).parameters["crop_n_layers"].default == 0


def test_usage_errors_are_said_once(batch, fields, tmp_path):
    (tmp_path / "l.txt").write_text("a.png", encoding="utf-16")
    for arguments, what in (
        ((tmp_path / "nowhere", "-o", tmp_path / "o"), "no such file"),
        ((tmp_path / "l.txt", "-o", tmp_path / "o"), "must be UTF-8"),
        ((fields, "-o", tmp_path / "o", "--write", "coco,,gif"), "unknown"),
        ((fields, "-o", tmp_path / "o", "--engine", "spark"), "local, processes or ray"),
        (
            (fields, "-o", tmp_path / "o", "--crop-n-layers", "many"),
            "expected auto or a whole number",
        ),
        ((), "Missing argument"),
    ):
        done = batch(*arguments)
        text = " ".join(done.stderr.split())
        assert (
            done.returncode == 2
            and text.count(what) == 1
            and done.stdout == ""
            and "Traceback" not in text
        ), done
    assert not (tmp_path / "o").exists()
