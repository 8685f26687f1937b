"""segrid.compare_video and `segrid compare` on a video: what a setting costs."""

import json
import subprocess
import sys

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.cli.compare import split_numbers
from segrid.measuring.video_comparison import VideoObject, objects_of, own_setting

from tests.video.clips import SIZE, clip
from tests.video.test_track_agreement import by_definition

FRAMES = 12
BOX = [6, 10, 40, 34]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("compare") / "clip.mp4", FRAMES)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A label map with two objects."""
    numbers = np.zeros(SIZE, np.uint8)
    numbers[12:30, 4:20] = 3
    numbers[40:60, 50:90] = 200
    path = tmp_path_factory.mktemp("labels") / "first.png"
    Image.fromarray(numbers).save(path)
    return path


def followed(model, objects, video, *, frames=None, side=None, pooling=None, **options):
    """[{id: (H, W) bool}] of each frame, by the session itself."""
    tracker = segrid.Tracker(model, image_side=side, memory_pooling=pooling, precision="fp32")
    with tracker.open(video, **options) as session:
        for id, one in enumerate(objects):
            one.add_to(session, id)
        steps = session.propagate(frames=frames)
        return [dict(zip(f.ids, f.masks.array, strict=True)) for f in steps]


def means(ours, theirs):
    """(J, F) over all objects and frames but the first, by their definitions."""
    pairs = [(a[i], b[i]) for a, b in zip(ours[1:], theirs[1:], strict=True) for i in a]
    assert any(a.any() or b.any() for a, b in pairs), "vacuous"
    j = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs]
    return np.mean(j), np.mean([by_definition(a, b) for a, b in pairs])


def test_results_are_those_of_the_sessions(video_model, video, labels):
    objects = [VideoObject(box=BOX), VideoObject(clicks=[(70, 50, 1), (5, 5, 0)])]
    told = []
    settings = dict(memory_frames=[7, 2], image_sides=[64])
    found = segrid.compare_video(
        video, objects, model=video_model, progress=told.append, **settings
    )
    own = own_setting(video_model)
    assert [(r.precision, r.memory_frames, r.image_side) for r in found.results] == [
        ("fp32", own.memory_frames, own.image_side),
        ("fp32", 7, 64),
        ("fp32", 2, 64),
    ]
    assert found.frames == FRAMES and found.objects == 2 and not found.refused
    reference = followed(video_model, objects, video)
    first = found.results[0]
    assert first.j == first.f == first.j_and_f == first.worst.j_and_f == 1
    for result in found.results[1:]:
        masks = followed(video_model, objects, video, side=64, memory_frames=result.memory_frames)
        j, f = means(masks, reference)
        assert result.j == pytest.approx(j) and result.f == pytest.approx(f) and j < 1
        assert result.j_and_f == pytest.approx((j + f) / 2)
        place, number = result.worst.frame, result.worst.object
        a, b = masks[place][number], reference[place][number]
        least = (a & b).sum() / max(1, (a | b).sum()) if (a | b).any() else 1
        assert result.worst.j_and_f == pytest.approx((least + by_definition(a, b)) / 2)
        assert result.frame_seconds > 0 and result.working_mb > 0
    assert told[0] == {"setting": str(own), "done": 0, "total": FRAMES}
    assert len({message["setting"] for message in told}) == 3 and told[-1]["done"] == FRAMES


def test_masks_as_prompts_and_fewer_frames(video_model, video, labels):
    objects = objects_of(labels)
    assert [one.number for one in objects] == [3, 200]
    found = segrid.compare_video(video, objects, model=video_model, precisions=["int8"], frames=3)
    assert [r.precision for r in found.results] == ["fp32", "int8"] and found.frames == 4
    int8 = found.results[1]
    assert 0 < int8.j < 1 and 0 < int8.f <= 1 and int8.weights_mb > 0
    again = followed(video_model, objects, video, frames=3)
    with Image.open(labels) as picture:
        numbers = np.asarray(picture)
    for i, n in enumerate((3, 200)):  # a mask is shown from logits of low resolution
        mask, given = again[0][i], numbers == n
        assert (mask & given).sum() / (mask | given).sum() > 0.7


def test_a_pooled_memory(video_model, video):
    objects = [VideoObject(box=BOX)]
    found = segrid.compare_video(video, objects, model=video_model, memory_poolings=[1, 2])
    assert [r.memory_pooling for r in found.results] == [1, 2]
    masks = followed(video_model, objects, video, pooling=2)
    j, f = means(masks, followed(video_model, objects, video))
    result = found.results[1]
    assert result.j == pytest.approx(j) and result.f == pytest.approx(f) and j < 1


def test_what_cannot_be_compared(video_model, video, labels, tmp_path):
    def compare(*objects, path=video, **how):
        return segrid.compare_video(path, objects, **{"model": video_model, **how})

    one = VideoObject(box=BOX)
    with pytest.raises(FileNotFoundError, match="no such video"):
        compare(one, path=tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="nothing to follow"):
        compare()
    with pytest.raises(NotImplementedError, match="no memory of video"):
        compare(one, model="tiny")
    with pytest.raises(RuntimeError, match="multiple of 32"):
        compare(one, image_sides=[99], frames=1)
    with pytest.raises(RuntimeError, match=r"failed: memory_frames: .*has learned 7 frames"):
        compare(one, memory_frames=[9], frames=1)
    refused = compare(one, precisions=["fp16"], frames=1).refused
    assert len(refused) == 1 and "CPU" in next(iter(refused.values()))
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "none.png")
    with pytest.raises(ValueError, match="has no object"):
        objects_of(tmp_path / "none.png")


def test_the_processes_import_nothing_from_the_working_folder(tmp_path, monkeypatch):
    from segrid.measuring.own_process import main_of

    for name in ("json", "tempfile", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the working folder')")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text("import json, tempfile, numpy\n_main = int")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    done = subprocess.run(main_of("mine"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "segrid", "compare", *map(str, words)],
        capture_output=True,
        text=True,
    )


def test_command(video_model, video, labels):
    """Also with the words after an option that arrive among the images."""
    words = [video, "--point", "10,20", "--mask", labels, "--model", video_model, "--frames", 2]
    done = command(*words, "--precision", "fp32,int8", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["objects"] == 3 and said["frames"] == 3 and said["refused"] == {}
    assert [r["precision"] for r in said["results"]] == ["fp32", "int8"]
    assert said["results"][0]["j_and_f"] == 1 and said["results"][1]["j_and_f"] < 1
    done = command(*words, "--memory-frames", 7, 4, "--image-side", "64")
    assert done.returncode == 0, done.stderr
    for text in ("3 objects through 3 frames", "J&F", "memory", "seconds", "as fast", "+ work"):
        assert text in done.stdout
    assert done.stdout.count("fp32") == 3
    done = command(*words, "--memory-frames", 7, "--memory-pooling", 1, 2)
    assert done.returncode == 2 and "separate numbers by commas" in " ".join(done.stderr.split())


def test_numbers_among_the_images(tmp_path):
    from pathlib import Path

    ages, sides = [7], [256]
    assert split_numbers([Path("a.mp4"), Path("4"), Path("512"), Path("2")], ages, sides) == [
        Path("a.mp4")
    ]
    assert ages == [7, 4, 2] and sides == [256, 512]
    assert split_numbers([Path("4"), Path("512")], [], []) == [Path("4"), Path("512")]


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "nothing to follow"),
        (["other.mp4", "--point", "1,2"], "one video"),
        (["--mask", "none.png"], "none.png"),
        (["--point", "1"], "expected x,y"),
    ],
)
def test_what_cannot_begin(video, words, says):
    from segrid.cli.app import app
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["compare", str(video), *words])
    assert done.exit_code == 2 and says in done.output, done.output
