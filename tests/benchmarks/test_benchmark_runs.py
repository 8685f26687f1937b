"""One problem from its options to its result, and what the pages make of results."""

import json

import pytest
import segrid

from benchmarks import harness, models, report_folders, report_text, report_video
from benchmarks.photo import photo
from benchmarks.problems import folder
from benchmarks.run import command_line


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_problem_from_end_to_end(precision, monkeypatch, tmp_path, capsys):
    """With our subject alone, which computes in the precision that the result says."""
    try:
        model = segrid.Segmenter("tiny", precision=precision, device="cpu")
    except NotImplementedError as refused:
        pytest.skip(str(refused))
    monkeypatch.setenv("SEGRID_BENCHMARK_RESULTS", str(tmp_path / "results"))
    words = "everything --points 4 --size 100 67 --repeat 1 --subjects segrid --precision"
    a = command_line().parse_args([*words.split(), precision])
    path = harness.run(a.problem, a, tmp_path)
    body = json.loads(path.read_text())
    row = body["rows"]["segrid"]
    expected = model.everything(photo((100, 67))[0], containment_thresh=1, **models.recommended(4))
    assert path.stem == f"everything-tiny-{precision}-100x67"
    assert row["precision"] == body["precision"] == precision
    assert row["count"] == len(expected) > 0 and row["runs"] == 1 and row["median"] > 0
    assert body["ratio"] == {} and "memory above the weights: segrid" in capsys.readouterr().out


def folder_row(seconds, of_compared):
    stages = {folder.SECONDS: of_compared}
    return {"median": seconds, "memory_mb": 1.0, "stages": stages}


def test_folders_are_compared_over_the_same_images():
    rows = {folder.OURS: folder_row(1.0, 2.0), folder.PEER: folder_row(30.0, 30.0)}
    found = folder.compare({"rows": rows, "images": 200}, None)
    assert found["ratio"] == {folder.OURS: 1.0, folder.PEER: 15.0} and found["compared"] == 12


def test_pages_refuse_results_of_other_settings(monkeypatch, tmp_path):
    (tmp_path / "avx512").mkdir()
    (tmp_path / "avx512/folder.json").write_text(json.dumps({"images": 3, "rows": {}}))
    monkeypatch.setattr(report_text, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="folder.json: images is 3, but the pages are about 200"):
        report_folders.folders()


def test_the_folder_has_a_ratio_only_for_the_same_images():
    rows = {
        report_folders.OURS: {"median": 0.4, "stages": {"images": 200}},
        report_folders.PEER: {"median": 18.0, "stages": {"images": 12}},
    }
    old = report_folders.against_the_peer({"rows": rows, "ratio": {report_folders.PEER: 45.0}})
    assert "first 12 images" in old and "45" not in old
    new = {"rows": rows, "ratio": {report_folders.PEER: 33.0}, "compared": 12}
    assert "33 times as long for the same 12 images" in report_folders.against_the_peer(new)


def test_settings_of_video_in_every_precision_that_was_measured():
    rows = {f"segrid@{p}, 1 object": {"median": 2.0} for p in report_video.PRECISIONS}
    rows |= {"segrid@fp32, 1 object at 512": {"median": 0.5}}
    rows |= {"segrid@bf16, 1 object at 512": {"error": "no instructions"}}
    agreement = {"segrid@fp32, 1 object at 512": {"mean": 0.564}}
    lines = report_video.faster({"rows": rows, "agreement": agreement})
    assert lines[2] == "| `image_side=512` | 4.0 x, 0.564 |  |  |"


def test_pages_say_of_how_many_runs_a_row_is():
    once, more = ({"rows": {"segrid": {"runs": n}, "other": {"error": ""}}} for n in (1, 3))
    assert report_text.runs(once) == "Each row is a single run."
    assert report_text.runs(once, more) == "Each row is the median of 1 to 3 runs."
