"""`segrid tune`: every setting has a row, the recommendation respects the limits, and the profile
is read again."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.measuring.tuning_report import write_report


@pytest.fixture(scope="module")
def images(tmp_path_factory, coins):
    folder = tmp_path_factory.mktemp("tune")
    for i in range(2):
        Image.fromarray(coins[: 160 + 20 * i, : 200 + 30 * i]).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(images):
    return segrid.tune(
        sorted(images.iterdir()), threads=[1, 2], precisions=["fp32", "int8"], points=(4, 8)
    )


def test_rows(tuned):
    settings = [r.setting for r in tuned.rows]
    # Five settings of threads and jobs: (2, 3), (2, 2), (2, 1), (1, 2), (1, 1). Then two precisions
    # by two grids, without the one that was measured already.
    assert len(set(settings)) == len(settings) == 5 + 3
    assert (
        settings[0].threads == 2
        and settings[0].precision == "fp32"
        and settings[0].points_per_side == 8
    )
    for row in tuned.rows:
        assert (
            row.error is None
            and row.images_per_second > 0
            and row.boxes_per_second > 0
            and row.latency > 0
            and 0 < row.io_share < 1
        )
        assert (
            row.setting.points_per_side != 8
            or row.setting.precision != "fp32"
            or (row.iou_mean == 1 and row.lost == row.new == 0)
        )
    best = tuned.best
    assert best is tuned.rows[0] or (
        best.iou_mean >= 0.98 and best.lost <= 0.05 * tuned.rows[0].masks
    )
    assert best.images_per_second == max(
        r.images_per_second
        for r in tuned.rows
        if r is tuned.rows[0] or (r.iou_mean >= 0.98 and r.lost <= 0.05 * tuned.rows[0].masks)
    )
    assert tuned.bottleneck.endswith(".")


def test_report_and_profile(tuned, tmp_path, coins):
    from segrid.measuring.tuning_report import write_report
    from segrid.profile import read_profile

    write_report(tuned, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert (
        report.count("\n| ") == len(tuned.rows) + len(tuned.batches) + 2
        and "**best**" in report
        and (tmp_path / "speed.svg").read_text().lstrip().startswith("<?xml")
    )
    s = tuned.best.setting
    assert f"precision {s.precision}" in (tmp_path / "recommendation.txt").read_text()
    profile = read_profile(tmp_path / "profile.json")
    assert profile["in_flight"] == s.in_flight
    model = segrid.Segmenter("tiny", profile=tmp_path / "profile.json")
    assert model.precision == s.precision
    same = segrid.Segmenter("tiny", precision=s.precision).everything(
        coins, points_per_side=s.points_per_side
    )
    assert np.array_equal(model.everything(coins).scores, same.scores)
    assert (
        segrid.Segmenter("tiny", precision="fp32", profile=tmp_path / "profile.json").precision
        == "fp32"
    )
    (tmp_path / "other.json").write_text('{"threads": 2}')
    with pytest.raises(ValueError, match="not a profile"):
        segrid.Segmenter("tiny", profile=tmp_path / "other.json")


def test_out_of_memory_is_a_row(images, monkeypatch):
    from segrid.measuring import tuning

    real = tuning._Measurements._measure

    def tight(self, setting):
        self._job["limit_mb"] = 8 if setting.in_flight == 1 else None
        return real(self, setting)

    monkeypatch.setattr(tuning._Measurements, "_measure", tight)
    found = segrid.tune(sorted(images.iterdir())[:1], threads=[2], precisions=["fp32"], points=(4,))
    assert [r.error for r in found.rows] == [
        None,
        None,
        "out of memory",
    ] and found.best.setting.in_flight > 1
    assert "out of memory" in _report(found)


def _report(found):
    import tempfile
    from pathlib import Path

    from segrid.measuring.tuning_report import write_report

    with tempfile.TemporaryDirectory() as folder:
        write_report(found, folder)
        return (Path(folder) / "report.md").read_text()


def test_command_and_batch_with_its_profile(images, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "segrid",
            "tune",
            str(images),
            "-o",
            str(tmp_path / "out"),
            "--points",
            "4",
            "--images",
            "1",
            "--json",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points_per_side"] == 4
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "segrid",
            "batch",
            str(images),
            "-o",
            str(tmp_path / "batch"),
            "--profile",
            str(tmp_path / "out/profile.json"),
            "--write",
            "coco",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    options = json.loads((tmp_path / "batch/manifest.jsonl").read_text().splitlines()[0])[
        "options"
    ]["options"]
    assert options["points_per_side"] == 4
    done = subprocess.run(
        [sys.executable, "-m", "segrid", "tune", str(tmp_path / "none"), "-o", str(tmp_path / "x")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no such file" in " ".join(done.stderr.split())


def test_boxes_in_one_call(tuned, tmp_path):
    """Measured with the recommended setting, in a process of its own."""
    assert [row.boxes for row in tuned.batches] == [1, 16, 64]
    assert all(row.error is None and row.at_once is None for row in tuned.batches)  # on the CPU
    best = max(tuned.batches, key=lambda row: row.boxes_per_second)
    assert tuned.best_batch is best
    write_report(tuned, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert f"| {best.boxes} | {1e3 * best.seconds:.1f} | {best.boxes_per_second:.0f} |" in report
    assert f"{best.boxes} boxes in one call" in (tmp_path / "recommendation.txt").read_text()
    halved = replace(best, boxes=512, at_once=128)
    write_report(replace(tuned, batches=[best, halved]), tmp_path)
    assert "out of memory: 128 at once" in (tmp_path / "report.md").read_text()


def test_errors(images):
    for arguments, what in (
        ({"images": []}, "at least one image"),
        ({"images": [next(images.iterdir())], "points": (0,)}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=what):
            segrid.tune(**arguments)
    with pytest.raises(FileNotFoundError):
        segrid.tune(["nowhere.png"])


def test_how_many_boxes_a_call(images):
    one = sorted(images.iterdir())[0]
    sweep = [sys.executable, "-m", "segrid", "bench", "--image", one]
    rows = json.loads(
        subprocess.run(
            [*sweep, "--batches", "1,4,40", "--repeat", "2", "--json"],
            capture_output=True,
            text=True,
        ).stdout
    )
    assert [r["boxes"] for r in rows] == [1, 4, 40] and all(
        r["error"] is None and r["memory_mb"] is not None for r in rows
    )
    for row in rows:
        assert row["boxes_per_second"] == pytest.approx(row["boxes"] / row["seconds"])
    # The logits of 40 boxes take 10 MB.
    assert (
        rows[2]["seconds"] > 3 * rows[0]["seconds"] and rows[2]["memory_mb"] > rows[0]["memory_mb"]
    )
    shown = subprocess.run([*sweep, "--batches", "2"], capture_output=True, text=True).stdout
    assert "fastest" in shown and "boxes/s" in shown
    for wrong in (("--batches", "0"), ("--batches", "a"), (one,)):
        assert subprocess.run([*sweep, *wrong], capture_output=True).returncode == 2


def test_a_batch_too_large_is_a_row(images):
    """Nine hundred boxes do not fit into 30 MB of address space: the row says so."""
    code = (
        "import resource, sys, segrid\nfrom segrid.measuring.tuning import sweep_prompts\n"
        "m = segrid.Segmenter('tiny')\nm.everything(sys.argv[1], points_per_side=2)\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + (30 << 20),) * 2)\n"
        "print([(r.boxes, r.error) for r in sweep_prompts(m, sys.argv[1], [2, 900, 3], repeat=1)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sorted(images.iterdir())[0])],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[(2, None), (900, 'out of memory'), (3, None)]", (
        done.stdout + done.stderr
    )
