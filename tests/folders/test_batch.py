"""`segrid batch`: outputs depend on inputs and options only, a killed run is continued, and bad
files are set aside."""

import dataclasses
import json
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.folders.writers import UNFINISHED

OPTIONS = ["--points-per-side", "4", "--crop-n-layers", "0", "--write", "coco,labels,overlay,csv"]


def contents(out):
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.name != "manifest.jsonl"
    }


@pytest.fixture(scope="module")
def whole(batch, fields, tmp_path_factory):
    """The output folder and the summary of a run without interruption."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = batch(fields, "-o", out, *OPTIONS, "--json")
    assert done.returncode == 1, done.stderr
    return out, json.loads(done.stdout)


def test_what_is_written(fields, whole):
    out, told = whole
    assert (
        told["images"] == 15
        and told["done"] == 12
        and set(told["quarantined"]) == {"empty.png", "page.jpg", "half.png"}
    )
    assert "empty file" in told["quarantined"]["empty.png"]
    names = {str(p.relative_to(fields).with_suffix("")) for p in fields.rglob("field*")}
    for kind, ending in (("coco", "json"), ("labels", "png"), ("overlay", "png"), ("table", "csv")):
        assert {
            str(p.relative_to(out / kind).with_suffix(""))
            for p in (out / kind).rglob(f"*.{ending}")
        } == names
    merged = json.loads((out / "coco.json").read_text())
    assert len(merged["images"]) == 12 and [i["file_name"] for i in merged["images"]] == sorted(
        i["file_name"] for i in merged["images"]
    )
    assert len({a["id"] for a in merged["annotations"]}) == len(merged["annotations"]) > 0
    for image in merged["images"]:
        alone = json.loads((out / "coco" / image["file_name"]).with_suffix(".json").read_text())[
            "annotations"
        ]
        assert [
            a["segmentation"] for a in merged["annotations"] if a["image_id"] == image["id"]
        ] == [a["segmentation"] for a in alone]
    bad = json.loads((out / "quarantined.json").read_text())
    assert set(bad) == set(told["quarantined"]) and str(fields) not in json.dumps(bad)
    rows = (out / "table/a/field 01.csv").read_text().splitlines()
    assert (
        rows[0].startswith("id,label,score")
        and len(rows) - 1 == np.asarray(Image.open(out / "labels/a/field 01.png")).max()
    )


def test_same_bytes_for_any_number_of_threads(batch, fields, whole, tmp_path):
    assert batch(fields, "-o", tmp_path / "out", *OPTIONS, "--threads", 1).returncode == 1
    assert contents(tmp_path / "out") == contents(whole[0])


def test_ctrl_c_says_what_is_done(batch, fields, whole, tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-m", "segrid", "batch", fields, "-o", out, *OPTIONS, "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would this process of its tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        deadline = time.time() + 60
        while _lines(out) < 2 and process.poll() is None and time.time() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert re.search(r"stopped: \d+ of 15 images are done; the same command goes on", said), said
    assert "Traceback" not in said


def test_killed_at_any_moment_it_goes_on(batch, fields, whole, tmp_path):
    out, chance = tmp_path / "out", random.Random(3)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "segrid", "batch", fields, "-o", out, *OPTIONS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline, wanted = time.time() + 60, chance.randint(1, 4)
        had = _lines(out)
        while process.poll() is None and time.time() < deadline and _lines(out) < had + wanted:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = _lines(out)
    with open(out / "manifest.jsonl", "a", encoding="utf-8") as file:
        file.write('{"image": "half a li')  # The line ends as if the run was killed while it wrote.
    done = batch(fields, "-o", out, *OPTIONS, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["done"] == 12 and told["skipped"] >= before - 1 > 0
    records = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()][1:]
    # No image is lost or recorded twice.
    assert len(records) == 15 == len({r["image"] for r in records})
    left = [p for p in out.rglob("*.part")]
    for part in left:
        part.unlink()  # SIGKILL left this file; it does not count as a result.
    assert contents(out) == contents(whole[0])


def _lines(out):
    path = out / "manifest.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def test_a_second_run_has_nothing_to_do_but_says_what_is_bad(batch, fields, whole):
    before = contents(whole[0])
    done = batch(fields, "-o", whole[0], *OPTIONS, "--json")
    told = json.loads(done.stdout)
    assert (
        done.returncode == 1
        and told["skipped"] == 15
        and len(told["quarantined"]) == 3
        and contents(whole[0]) == before
    )


def test_changed_files_and_retry(batch, fields, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("x.png", "y.png"):
        (source / name).write_bytes((fields / "a/field 01.png").read_bytes())
    (source / "z.png").write_text("bad")
    assert batch(source, "-o", out, *OPTIONS).returncode == 1
    (source / "x.png").write_bytes((fields / "a/field 05.png").read_bytes())
    told = json.loads(batch(source, "-o", out, *OPTIONS, "--json", "--retry").stdout)
    assert told["skipped"] == 1 and told["done"] == 2 and set(told["quarantined"]) == {"z.png"}
    (source / "z.png").write_bytes((fields / "a/field 05.png").read_bytes())
    done = batch(source, "-o", out, *OPTIONS, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["done"] == 3
    assert (out / "labels/x.png").read_bytes() == (out / "labels/z.png").read_bytes()
    made = (out / "overlay/y.png").read_bytes()
    (out / "overlay/y.png").unlink()  # An output that somebody removed is written again.
    assert (
        json.loads(batch(source, "-o", out, *OPTIONS, "--json").stdout)["skipped"] == 2
        and (out / "overlay/y.png").read_bytes() == made
    )


def test_usage(batch, fields, tmp_path):
    for arguments, what in (
        ((tmp_path / "nowhere", "-o", tmp_path / "o"), "no such file"),
        ((fields, "-o", tmp_path / "o", "--write", "gif"), "unknown gif"),
        ((fields, "-o", tmp_path / "o", "--model", "nothing"), "no such folder"),
    ):
        done = batch(*arguments)
        assert (
            done.returncode == 2
            and what in " ".join(done.stderr.split())
            and "Traceback" not in done.stderr
        )
    one = fields / "a/field 01.png"
    assert batch(one, "-o", tmp_path / "o", *OPTIONS).returncode == 0
    done = batch(one, "-o", tmp_path / "o", "--points-per-side", 5)
    assert done.returncode == 2 and "made with other options" in " ".join(done.stderr.split())


def test_row_55_disk_full_and_read_only(fields, tmp_path, monkeypatch):
    """When a writer finds the disk full, the run stops and names the file. It continues when there
    is space again."""
    import segrid
    from segrid.folders import run, writers
    from segrid.folders.inputs import collect

    images = [i for i in collect([str(fields)]) if "field" in i.key]
    real, calls = writers.WRITERS["labels"], []

    def full(result, image, path, place):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device", str(path))
        real.write(result, image, path, place)

    monkeypatch.setitem(writers.WRITERS, "labels", dataclasses.replace(real, write=full))
    options = {"points_per_side": 4}
    job = run.Job(segrid.Segmenter("tiny"), tmp_path / "out", ["labels"], options)
    first = run.run(job, images, {})
    assert (
        first.stopped
        and "No space left" in first.stopped
        and 0 < first.done < 12
        and not first.failed
    )
    assert (
        not list((tmp_path / "out").rglob("*.part"))
        and not (tmp_path / "out/quarantined.json").exists()
    )
    second = run.run(job, images, {})
    assert second.stopped is None and second.done == 12 and second.skipped == first.done


def test_two_runs_at_once(batch, fields, tmp_path):
    from segrid.folders.manifest import Manifest

    (tmp_path / "out").mkdir()
    held = Manifest(tmp_path / "out", {})
    done = batch(fields / "a/field 01.png", "-o", tmp_path / "out")
    assert done.returncode == 2 and "another run" in " ".join(done.stderr.split())
    held.close()


def test_a_foreign_manifest_is_left_alone(batch, fields, tmp_path):
    for text, line in (
        ('{\n "my": 1\n}\n', 1),
        ("5\n", 1),
        ('{"options": {}}\n{"image": "a"}\n', 2),
        ("hello", 1),
    ):
        (tmp_path / "manifest.jsonl").write_text(text)
        done = batch(fields / "a/field 01.png", "-o", tmp_path, *OPTIONS)
        assert done.returncode == 2 and f"manifest.jsonl:{line}" in done.stderr.replace("\n", ""), (
            done.stderr
        )
        assert (tmp_path / "manifest.jsonl").read_text() == text


@pytest.fixture(scope="module")
def three(fields, tmp_path_factory):
    """Two images, and one that is cut off."""
    root = tmp_path_factory.mktemp("three")
    for name in ("x.jpg", "y.jpg", "z.jpg"):
        content = (fields / "b c/field 00.jpg").read_bytes()
        (root / name).write_bytes(content[: len(content) * 2 // 3] if name == "z.jpg" else content)
    return root


def test_the_summary_counts_the_earlier_ones(batch, three, tmp_path):
    def said(*inputs, more=()):
        return (
            batch(*inputs, "-o", tmp_path / "out", *OPTIONS, *more)
            .stdout.splitlines()[0]
            .rsplit(":", 1)[0]
        )

    assert said(three / "x.jpg", three / "y.jpg") == "2 of 2 images done, 0 quarantined"
    assert said(three / "x.jpg", three / "y.jpg") == "2 of 2 images done (2 earlier), 0 quarantined"
    assert said(three) == "2 of 3 images done (2 earlier), 1 quarantined"
    assert said(three) == "2 of 3 images done (2 earlier), 1 quarantined (1 earlier)"
    (tmp_path / "out/overlay/x.png").unlink()
    assert said(three, more=("--retry",)) == "2 of 3 images done (1 earlier), 1 quarantined"


def test_lenient(batch, three, tmp_path):
    assert batch(three, "-o", tmp_path / "out", *OPTIONS).returncode == 1
    kept = (tmp_path / "out/overlay/x.png").stat().st_mtime_ns
    done = batch(three, "-o", tmp_path / "out", *OPTIONS, "--lenient", "--retry")
    assert (
        done.returncode == 0
        and "note z.jpg: JPEG truncated" in done.stdout
        and "Warning" not in done.stderr
    )
    records = [
        json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()[1:]
    ]
    last = {r["image"]: r for r in records}
    assert "notes" not in last["x.jpg"] and last["z.jpg"]["status"] == "done"
    notes = last["z.jpg"]["notes"]
    assert notes and notes[0].startswith("JPEG truncated")
    assert (tmp_path / "out/overlay/x.png").stat().st_mtime_ns == kept
    with pytest.warns(UserWarning):
        wanted = segrid.read_image(three / "z.jpg", lenient=True)
    masks = segrid.Segmenter("tiny").everything(wanted, points_per_side=4)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/labels/z.png")), masks.label_map())
    told = json.loads(batch(three, "-o", tmp_path / "out", *OPTIONS, "--json").stdout)
    assert told["skipped"] == 3 and told["notes"] == [
        {"image": "z.jpg", "note": note} for note in notes
    ]


def test_notes_are_each_images_own(three, tmp_path):
    """Images are read at the same time; each gets its own notes, and warnings of other threads
    belong to no image."""
    import warnings

    from segrid.folders.notes import Notes

    notes, names = Notes(), [f"image {i}" for i in range(40)]

    def read(name):
        with notes.collected() as found:
            for _ in range(3):
                warnings.warn(name, UserWarning, stacklevel=1)
                time.sleep(0.001)
        return found

    with pytest.warns(UserWarning) as others, notes.listening(), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, names))
        pool.submit(warnings.warn, "of nobody", UserWarning).result()
    assert found == [[name] * 3 for name in names]
    assert [str(w.message) for w in others] == ["of nobody"]


def test_a_half_written_folder_of_objects_is_not_taken_as_done(batch, fields, tmp_path):
    """A run that is killed leaves a mark in it."""
    one, out = fields / "a/field 01.png", tmp_path / "out"
    options = (one, "-o", out, "--write", "objects", "--points-per-side", "8")
    assert batch(*options).returncode == 0
    (folder,) = (path for path in (out / "objects").iterdir() if path.is_dir())
    whole = sorted(file.name for file in folder.iterdir())
    assert whole[0] == "0001.png" and len(whole) > 1, "vacuous"
    (out / "manifest.jsonl").unlink()
    (folder / whole[-1]).unlink()
    (folder / UNFINISHED).touch()
    assert batch(*options, "--skip-existing").returncode == 0
    assert sorted(file.name for file in folder.iterdir()) == whole
