"""Options that have no effect, and values that cannot work, are refused before the work begins."""

import os
import stat

import pytest
from segrid.cli.app import app
from typer.testing import CliRunner

EVERYTHING = "only where everything is segmented"
DETECTOR = "only with a detector"


def refused(*words):
    """The text of a command that ends with exit code 2."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    text = " ".join(done.output.replace("│", " ").split())
    assert done.exit_code == 2, text
    return text


@pytest.mark.parametrize(
    "words, says",
    [
        ("batch a.png -o {o} --prompt x --max-masks 3", f"--max-masks: {EVERYTHING}"),
        ("batch a.png -o {o} --boxes b.json --crop-n-layers 1", f"--crop-n-layers: {EVERYTHING}"),
        ("batch a.png -o {o} --views v.json --points-per-side 4", "not with --views"),
        ("batch a.png -o {o} --boxes b.json --min-area-frac 0.1", "--min-area-frac"),
        ("batch a.png -o {o} --conf-threshold 0.3", f"--conf-threshold: {DETECTOR}"),
        ("batch a.png -o {o} --boxes b.json --nms 0.3", f"--nms: {DETECTOR}"),
        ("batch a.png -o {o} --sam-batch-size 3", "--sam-batch-size: only with"),
        ("batch a.png -o {o} --prompt x --trust", "--trust: only with a .torchscript file"),
        ("batch a.png -o {o} --workers 2", "--workers: only with --engine"),
        ("batch a.png -o {o} --engine processes --ray-address auto", "--ray-address: only with"),
        ("detect a.png --prompt x --no-masks --segmenter tiny", "--segmenter: only where masks"),
        ("track a.mp4 --point 1,1 --detector tiny-detector", "--detector: only with --prompt"),
        ("track a.mp4 --point 1,1 --threshold 0.2", "--threshold: only with --prompt"),
        ("track a.mp4 --point 1,1 --nms 0.2", "--nms: only with --prompt"),
        ("track a.mp4 --everything --match-iou 0.2", "--match-iou: only with --prompt"),
        ("bench a.png --video drawn", "images: not with --video"),
        ("bench --video drawn --repeat 2", "--repeat: not with --video"),
        ("bench --video drawn --batches 2", "--batches: not with --video"),
        ("bench --image a.png --points-per-side 2", "--points-per-side: only for the stages"),
        ("bench --image a.png --objects 2", "--objects: only with --video"),
        ("bench --memory-pooling 2", "--memory-pooling: only with --video"),
        ("bench --batches 2", "--batches: only with --image"),
        ("compare a.mp4 --point 1,1 -o w.png", "--output: only for images"),
        ("compare a.mp4 --point 1,1 --labels l", "--labels: only for images"),
        ("compare a.mp4 --point 1,1 --detector tiny-detector", "--detector: only with --prompt"),
        ("compare a.png --detector tiny-detector", "--detector: only for a video"),
        ("serve --precision fp32 --set precision=int8", "precision is given twice"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, words, says):
    assert says in refused(*words.format(o=tmp_path / "out").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, says",
    [
        ("track a.mp4 --prompt x --threshold 9", "threshold: must be from 0 to 1"),
        ("track a.mp4 --prompt x --nms -1", "nms: must be from 0 to 1"),
        ("compare a.png -o {d}/w.xyz", "w.xyz"),
        ("tune a.png -o {file}", "-o "),
        ("tune a.png -o {d}/t --precision fp32,int3", "unknown 'int3'"),
        ("everything a.png -o {d}/e --trace {d}", "--trace"),
        ("serve --port 0 --state-dir {file}", "state_dir"),
        ("compare {d}", "give --point, --box, --mask or --prompt"),
        ("info --threads 0", "--threads: must be from 1 to 1024, got 0"),
        ("batch {file} -o {d}/b --threads 0", "--threads: must be from 1 to 1024, got 0"),
        ("batch a.png -o {d}/b --write=", "--write: expected names"),
    ],
)
def test_values_that_cannot_work_name_their_option(tmp_path, words, says):
    file = tmp_path / "file.png"
    file.write_bytes(b"a file")
    assert says in refused(*(word.format(d=tmp_path, file=file) for word in words.split()))
    assert [path.name for path in tmp_path.iterdir()] == ["file.png"]


def test_tune_takes_precisions_with_spaces():
    from segrid.cli.options import names

    assert names("fp32, int8") == ["fp32", "int8"]


def test_bench_of_a_video_takes_the_tracker():
    from segrid.cli import bench_video

    chosen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_video, "run_video", lambda _, choice, **__: chosen.append(choice) or 0)
        assert CliRunner().invoke(app, ["bench", "--video", "drawn"]).exit_code == 0
    assert chosen[0].model == "tiny-video"


@pytest.mark.parametrize("option, value", [("device", "auto"), ("precision", "auto")])
def test_an_option_of_serve_wins_against_the_environment(monkeypatch, option, value):
    from segrid.serve import server

    monkeypatch.setenv(f"SEGRID_SERVE_{option.upper()}", "cpu" if option == "device" else "fp32")
    used = []
    monkeypatch.setattr(server, "run", lambda settings, *_: used.append(settings))
    for words in ([], [f"--{option}", value]):
        assert CliRunner().invoke(app, ["serve", *words]).exit_code == 0
    assert [getattr(one, option) for one in used][1] == value != getattr(used[0], option)


def test_weights_have_the_mode_of_other_files(tmp_path):
    before = os.umask(0o022)
    try:
        words = ["quantize", "-o", str(tmp_path / "model")]
        assert CliRunner().invoke(app, words).exit_code == 0
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()
    }
    assert modes["model.safetensors"] == modes["config.json"] == 0o644, modes
    assert not [name for name in modes if name.endswith(".mode")]
