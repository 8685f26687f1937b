"""`segrid track`: its files, its progress, its exit codes, and how a stopped run goes on."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from tests import models
from tests.video.clips import by_opencv, clip, drawn

FRAMES = 12
OFTEN = "import segrid.cli.track_run as r; r.SNAPSHOT_PAUSE = r.SNAPSHOT_SHARE = 0.0; "
PROGRAM = [sys.executable, "-c", OFTEN + "from segrid.cli import main; main()", "track"]


def command(*words):
    return [sys.executable, "-m", "segrid", "track", *map(str, words), "--precision", "fp32"]


def track(*words):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("track") / "clip.mp4", FRAMES)


def decoded(path):
    """{frame: {id: (H, W) bool}} of a masks file."""
    from pycocotools import mask as coco

    return {
        frame["index"]: {
            one["id"]: coco.decode(one["segmentation"]).astype(bool) for one in frame["objects"]
        }
        for frame in json.loads(path.read_text())["frames"]
    }


def test_points_and_boxes_are_followed(tracker, video_model, video, tmp_path):
    out = tmp_path / "out"
    done = track(
        video, "--point", "10,20 80,60,0", "--point", "70,50", "--box", "6,10,40,34",
        "--model", video_model, "-o", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == [
        "clip_masks.json", "clip_overlay.mp4", "clip_tracks.csv",
    ]  # fmt: skip
    with tracker.open(video) as session:
        session.add(1, points=[[10, 20], [80, 60]], labels=[1, 0])
        session.add(2, points=[[70, 50]])
        session.add(3, boxes=[6, 10, 40, 34])
        wanted = {f.index: f for f in session.propagate()}
    masks = decoded(out / "clip_masks.json")
    assert list(masks) == list(range(FRAMES))
    assert all(
        np.array_equal(masks[i][number], f[number].array[0])
        for i, f in wanted.items()
        for number in f.ids
    )
    assert sum(m.any() for of in masks.values() for m in of.values()) > FRAMES, "vacuous"
    rows = list(csv.DictReader((out / "clip_tracks.csv").open()))
    assert len(rows) == 3 * FRAMES
    row = next(r for r in rows if int(r["area"]))
    mask = masks[int(row["frame"])][int(row["id"])]
    assert int(row["area"]) == mask.sum()
    assert abs(float(row["centroid_x"]) - np.nonzero(mask)[1].mean()) < 0.01
    assert len(by_opencv(out / "clip_overlay.mp4")) == FRAMES
    said = done.stderr.splitlines()
    assert said[0] == f"0/{FRAMES} frames" and said[1].startswith(f"1/{FRAMES} frames, ")
    assert "frames/s" in said[1] and " left, " in said[1]
    assert f"track: {FRAMES} of {FRAMES} frames" in done.stdout


def test_a_pooled_memory(video_model, video, tmp_path):
    words = (video, "--box", "6,10,40,34", "--memory-pooling", 2, "--model", video_model)
    done = track(*words, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    masks = decoded(tmp_path / "clip_masks.json")
    found = []
    for pooling in (2, 1):
        with segrid.Tracker(video_model, memory_pooling=pooling).open(video) as session:
            session.add(1, boxes=[6, 10, 40, 34])
            followed = {f.index: f.masks.array[0] for f in session.propagate()}
        found.append(all(np.array_equal(masks[i][1], mask) for i, mask in followed.items()))
    assert found == [True, False]


def test_progress_appears_before_the_end(video_model, tmp_path):
    path = clip(tmp_path / "long.mp4", 60)
    words = command(path, "--point", "10,20", "--model", video_model, "-o", tmp_path / "out")
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stderr.readline() == "0/60 frames\n"
        assert run.stderr.readline().startswith("1/60 frames, ")
        assert run.poll() is None
        run.kill()
        run.communicate()


def test_texts(tmp_path_factory, tracker, video_model, video, tmp_path):
    with torch.no_grad():
        owl = models.owlv2.make("small", tmp_path_factory.mktemp("track-owl"))
    detector = segrid.Detector(owl, precision="fp32")
    with tracker.open(video) as session:
        scores = detector.detect(session.picture(0), ["cat", "dog"], threshold=0.0, nms=0.5).scores
    threshold = float(scores[2])
    done = track(
        video, "--prompt", "cat", "--prompt", "dog", "--every", 8, "--threshold", threshold,
        "--model", video_model, "--detector", owl, "-o", tmp_path, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    pipeline = segrid.Pipeline(detector, tracker)
    with pipeline.track(video, ["cat", "dog"], every=8, threshold=threshold) as tracks:
        wanted = {i: (f.tracker_id.tolist(), f.masks.array) for i, f in enumerate(tracks)}
        named = dict(tracks.session.names)
    assert record["frames"] == record["total"] == FRAMES and done.stderr == ""
    assert {one["id"]: one["name"] for one in record["objects"]} == named and named
    masks = decoded(tmp_path / "clip_masks.json")
    for index, (ids, arrays) in wanted.items():
        there = {i: m for i, m in masks[index].items() if m.any()}
        assert list(there) == ids
        assert all(np.array_equal(a, b) for a, b in zip(there.values(), arrays, strict=True))
    assert record["left_out"] == 0 and len(named) > 1
    few = track(
        video, "--prompt", "cat", "--prompt", "dog", "--threshold", threshold, "--max-objects", 1,
        "--model", video_model, "--detector", owl, "-o", tmp_path / "few",
    )  # fmt: skip
    assert few.returncode == 0, few.stderr
    said = " ".join(few.stdout.split())
    assert "detections left out: 1, for which --max-objects 1 has no room" in said
    assert set(decoded(tmp_path / "few/clip_masks.json")[0]) == {1}


def test_the_best_new_detections_join_while_there_is_room(tracker):
    from segrid.video.detected_tracks import Schedule, Tracks

    square, ground, low = [6, 10, 40, 34], [50, 20, 90, 60], [2, 40, 30, 62]
    lists = iter([])

    def detect(picture):
        boxes, scores = next(lists)
        names = ["cat"] * len(boxes)
        return segrid.detector_outputs.to_detections((boxes, scores, names), picture.shape[:2])

    for most, joined in ((1, [1]), (2, [1, 2])):
        lists = iter([([square, ground], [0.2, 0.9]), ([low, square], [0.3, 0.8])])
        session = tracker.open([drawn(i) for i in range(3)], max_objects=most)
        schedule = Schedule(every=2)
        with Tracks(session, tracker.segmenter, detect, schedule) as tracks:
            for _ in tracks:
                assert tracks.session.ids == joined
            assert tracks.left_out > 0
            first = tracks.session.frame(0).masks[0]
        with tracker.open([drawn(0)]) as alone:
            alone.add(1, boxes=ground if most == 1 else square)
            assert np.array_equal(first.array, alone.frame(0).masks.array)


def test_everything_and_a_folder_of_frames(video_model, tmp_path):
    folder = tmp_path / "frames.d"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(drawn(i)).save(folder / f"{i}.png")
    done = track(
        folder, "--everything", "--max-objects", 3, "--frame", 1,
        "--model", video_model, "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["frames"] == 3 and len(record["objects"]) <= 3
    assert list(decoded(tmp_path / "out/frames.d_masks.json")) == [1, 2, 3]


def test_a_killed_run_goes_on(video_model, tmp_path):
    path = clip(tmp_path / "clip.mp4", 80)
    words = [str(path), "--box", "6,10,40,34", "--model", str(video_model), "--precision", "fp32"]
    whole = track(path, *words[1:5], "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "out"
    with subprocess.Popen([*PROGRAM, *words, "-o", str(out)], stderr=subprocess.PIPE) as run:
        while not (out / "clip_session.safetensors").exists():
            assert run.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)
        run.send_signal(signal.SIGKILL)
        run.communicate()
    assert run.returncode == -signal.SIGKILL and not (out / "clip_masks.json").exists()
    other = track(path, "--point", "9,9", "--model", video_model, "-o", out)
    assert other.returncode == 2 and "unfinished run" in other.stderr and "points" in other.stderr
    again = track(path, *words[1:5], "-o", out, "--json")
    assert again.returncode == 0, again.stderr
    record = json.loads(again.stdout)
    assert 0 < record["earlier"] < record["frames"] == 80
    for name in ("clip_masks.json", "clip_tracks.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(p.name for p in out.iterdir() if not p.name.endswith(".part")) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def test_ctrl_c_leaves_what_was_done(video_model, tmp_path):
    path = clip(tmp_path / "clip.mp4", 200)
    words = [path, "--point", "10,20", "--model", video_model, "-o", tmp_path / "out"]
    with subprocess.Popen(
        command(*words),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would this process of its tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as run:
        while not run.stderr.readline().startswith("1/200"):
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 1 and "interrupted; the same command goes on" in " ".join(said.split())
    first = decoded(tmp_path / "out/clip_masks.json")
    assert 1 <= len(first) < 200
    assert len(by_opencv(tmp_path / "out/clip_overlay.mp4")) == len(first)
    assert track(*words).returncode == 0
    assert len(decoded(tmp_path / "out/clip_masks.json")) == 200


def test_a_damaged_video_stops_the_run(video_model, video, tmp_path):
    bad = tmp_path / "bad.mp4"
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(drawn(i)).save(folder / f"{i}.png")
    (folder / "2.png").write_bytes(b"nothing")
    done = track(folder, "--point", "10,20", "--model", video_model, "-o", tmp_path / "out")
    assert done.returncode == 1 and "2.png" in done.stdout
    assert list(decoded(tmp_path / "out/frames_masks.json")) == [0, 1]
    bad.write_bytes(b"no video")
    assert track(bad, "--point", "1,1", "--model", video_model, "-o", tmp_path).returncode == 2


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "nothing to follow"),
        (["--point", "1"], "expected x,y"),
        (["--point", "1,2,7"], "label"),
        (["--box", "1,2,3"], "expected x0,y0,x1,y1"),
        (["--everything", "--point", "1,2"], "no other prompts"),
        (["--point", "1,2", "--every", "3"], "needs --prompt"),
        (["--point", "1,2", "--frame", "99"], "no frame 99"),
        (["--everything", "--frame", "12"], "no frame 12"),
        (["--point", "500,2"], "500"),
        (["--point", "1,2", "--box", "1,2,9,9", "--max-objects", "1"], "give 2 objects"),
        (["--point", "5,2,inf"], "a label is 1"),
        (["--point", "5,2,nan"], "a label is 1"),
    ],
)
def test_what_cannot_begin(video_model, video, tmp_path, words, says):
    from segrid.cli.app import app
    from typer.testing import CliRunner

    done = CliRunner().invoke(
        app, ["track", str(video), *words, "--model", str(video_model), "-o", str(tmp_path)]
    )
    assert done.exit_code == 2 and says in done.output, done.output
    assert list(tmp_path.iterdir()) == []
