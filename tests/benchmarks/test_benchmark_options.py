"""What a benchmark runs for its options, and what it refuses before the first row."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from benchmarks import arguments, harness, models
from benchmarks.row import Job
from benchmarks.run import command_line


def options(*words):
    return command_line().parse_args(words)


@pytest.mark.parametrize(
    "words, peers",
    [
        (["everything"], ["segment_anything"]),
        (["everything", "--model", "sam2.1_hiera_t"], ["sam2"]),
        (["everything", "--model", "mobile_sam"], ["mobile_sam"]),
        (["steps", "--model", "sam2.1_hiera_t"], ["sam2"]),
        (["batches", "--model", "sam2.1_hiera_t", "--device", "cuda"], ["sam2"]),
        (["batches", "--model", "mobile_sam", "--device", "cuda"], []),
        (["precisions", "--model", "vit_b"], ["segment_anything"]),
        (["video"], ["sam2", "transformers"]),
        (["video", "--device", "cuda"], ["sam2"]),
        (["steps", "--subjects", "openvino", "segrid"], ["openvino"]),
    ],
)
def test_the_usual_peer_is_of_the_models_family(words, peers):
    assert arguments.subjects_of(options(*words)) == ["segrid", *peers]


@pytest.mark.parametrize(
    "words, message",
    [
        ("everything --model sam2.1_hiera_t --subjects segment_anything", "sam2.*can: sam2"),
        ("everything --model tiny --subjects segrid mobile_sam", "mobile_sam: it cannot run.*tiny"),
        ("boxes --model vit_b --subjects openvino --device cuda", "not run on the device cuda"),
        ("everything --precision fp16", "fp16"),
        ("folder --device cuda --subjects folder_processes", "not run on the device cuda"),
        ("profile --call detect --model tiny", "takes --model owlv2-base, got tiny"),
        ("profile --call video --model vit_b", "takes --model sam2.1_hiera_t, got vit_b"),
        ("serve --minutes 0.01", "--minutes of 0 or at least"),
        ("serve --video-model tiny-video", "sam2 cannot build tiny-video"),
    ],
)
def test_what_cannot_run_is_refused_before_the_first_row(words, message, monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "run_row", lambda *_: pytest.fail("a row ran"))
    a = options(*words.split())
    with pytest.raises(SystemExit, match=message):
        harness.run(a.problem, a, tmp_path)


@pytest.mark.parametrize(
    "words", ["everything --model nonsense", "everything --repeat 0", "folder --count -1"]
)
def test_values_that_no_run_can_have(words, capsys):
    with pytest.raises(SystemExit):
        options(*words.split())
    assert "error: argument --" in capsys.readouterr().err


def test_torch_writes_onnx_by_a_package_of_its_own(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "onnx" or None)
    with pytest.raises(SystemExit, match="onnx is not installed .pip install onnxruntime onnx"):
        harness.check_packages(["segrid", "onnxruntime"])


@pytest.mark.parametrize("words", ["folder", "video --objects 1 --frames 9", "serve"])
def test_only_the_default_settings_have_the_names_of_the_pages(words):
    first, *more = words.split()
    assert arguments.settings(options(first, "--repeat", "1"), first) == ""
    changed = arguments.settings(options(first, *more, "--threads", "1"), first)
    assert changed.endswith("-threads-1") and ("frames" in changed) == ("--frames" in more)


def test_names_say_the_size_once():
    a = options("everything", "--points", "3", "--size", "300", "200")
    assert arguments.settings(a, "everything-tiny-fp32-300x200") == "-points-3"
    assert arguments.settings(a, "everything") == "-points-3-size-300x200"
    assert "-video-model-small" in arguments.settings(
        options("serve", "--video-model", "small"), ""
    )


def test_a_result_with_fewer_rows_gets_its_own_file(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGRID_BENCHMARK_RESULTS", str(tmp_path))
    both = harness.record("steps", {"rows": {"segrid": {}, "sam2": {}}}, whole=True)
    one = harness.record("steps", {"rows": {"segrid": {}}}, whole=True)
    assert (both.stem, one.stem) == ("steps", "steps-of-segrid")
    assert harness.record("steps", {"rows": {"segrid": {}, "sam2": {}}}, whole=True) == both


def test_no_ratio_of_different_masks():
    assert "2.0x faster" in harness.faster(2.0, "sam2", 0.97, {})
    for iou in (0.45, None):
        assert "faster" not in harness.faster(98.7, "segment_anything", iou, {"mean": iou})


def test_every_subject_gets_the_precision_on_the_cpu_too(monkeypatch):
    asked = {}
    fake = SimpleNamespace(
        Subject=lambda model, threads, option, **more: asked.update(more, option=option)
    )
    monkeypatch.setitem(sys.modules, "benchmarks.subjects.fake", fake)
    settings = {"model": "tiny", "options": {}, "precision": "bf16", "device": "cpu"}
    Job("folder", "fake", settings, 1, "").load(option="options")
    assert asked == {"option": {}, "precision": "bf16"}


def test_a_profile_of_video_names_what_it_ran(monkeypatch, tmp_path):
    rows = {}
    monkeypatch.setattr(models, "video_folder", lambda: "sam2")
    monkeypatch.setattr(harness, "alternate", lambda *given: rows.update(given[2]) or {})
    a = options("profile", "--call", "video", "--device", "cpu-plain")
    measured = a.problem.measure(a, tmp_path)
    facts = measured.facts
    assert (facts["model"], facts["frames"], facts["size"]) == ("sam2.1_hiera_t", 12, (640, 360))
    assert (
        measured.name == "profile-video-sam2.1_hiera_t-fp32-cpu-plain" and rows["model"] == "sam2"
    )
