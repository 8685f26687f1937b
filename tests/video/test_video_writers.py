"""What comes out of a video session: overlay video, label pictures, run lengths, tables."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from segrid.detections import Detections
from segrid.overlay import class_colour
from segrid.video import picture_video
from segrid.video.export import export
from segrid.video.label_folder import LabelFolder, id_map
from segrid.video.overlay_video import OverlayVideo, draw
from segrid.video.rle_file import RleFile
from segrid.video.sources import open_frames
from segrid.video.track_table import TrackTable

from tests.video.clips import all_of, clip, drawn
from tests.video.tracks import Frame, masks_of, tracked

ROOT = Path(__file__).parents[2]


def test_run_lengths(tmp_path):
    path = tmp_path / "new" / "tracks.json"
    with RleFile(path, rate=10) as file:
        for i in range(5):
            file.add(tracked(i))
        assert not path.exists()  # it is not complete
    found = json.loads(path.read_text())
    assert (found["height"], found["width"], found["frame_rate"]) == (64, 96, 10)
    assert [f["index"] for f in found["frames"]] == list(range(5))
    for i, frame in enumerate(found["frames"]):
        masks = tracked(i).masks
        for place, record in enumerate(frame["objects"]):
            assert record["id"] == (1, 7)[place] and record["area"] == masks.areas[place]
            rle = record["segmentation"]
            assert np.array_equal(coco.decode(rle), masks.array[place])
            assert np.allclose(coco.toBbox(rle), record["bbox"])
    first, second = found["frames"][3]["objects"]
    assert first["name"] == "red car" and first["score"] == pytest.approx(0.9)
    assert second["name"] is None and second["score"] is None and second["area"] == 0
    assert path.read_text().count("\n") == 7  # a line for each frame


def test_table(tmp_path):
    path = tmp_path / "tracks.csv"
    with TrackTable(path) as file:
        for i in range(5):
            file.add(tracked(i))
    rows = list(csv.DictReader(path.open()))
    assert [(r["frame"], r["id"]) for r in rows] == [(str(i), n) for i in range(5) for n in "17"]
    row = rows[4]
    assert row["name"] == "red car" and float(row["score"]) == pytest.approx(0.9)
    box = [float(row[c]) for c in ("x0", "y0", "x1", "y1", "centroid_x", "centroid_y")]
    assert box == [12, 10, 41, 39, 26.5, 24.5] and int(row["area"]) == 900
    lost = rows[7]
    assert lost["area"] == "0" and lost["score"] == lost["centroid_x"] == lost["x0"] == ""


@pytest.mark.parametrize(
    "ids,depth", [((1, 7), np.uint8), ((7, 255), np.uint8), ((2, 256), np.uint16)]
)
def test_label_pictures(tmp_path, ids, depth):
    folder = LabelFolder(tmp_path / "labels")
    paths = [folder.add(tracked(i, ids=ids)) for i in range(5)]
    assert [p.name for p in paths] == [f"{i:05d}.png" for i in range(5)]
    for i, path in enumerate(paths):
        found = np.asarray(Image.open(path))
        large, small = tracked(i).masks.array
        wanted = np.where(small, ids[1], np.where(large, ids[0], 0))
        assert np.array_equal(found, wanted) and found.dtype == depth
    assert len(list(folder.folder.iterdir())) == 5


@pytest.mark.parametrize("number", [0, -1, 65536])
def test_ids_that_are_no_labels(number):
    with pytest.raises(ValueError, match=f"frame 2: object {number} has no number in a picture"):
        id_map(tracked(2, ids=(1, number)))


def test_no_objects(tmp_path):
    nothing = Frame(0, [], masks_of(np.zeros((0, 64, 96))), np.zeros(0, np.float32))
    frames = open_frames([drawn(0)])
    places = {"overlay": tmp_path / "o.mp4", "labels": tmp_path / "l", "rle": tmp_path / "r.json"}
    export([nothing], frames, **places, table=tmp_path / "t.csv")
    assert json.loads((tmp_path / "r.json").read_text())["frames"] == [{"index": 0, "objects": []}]
    assert not np.asarray(Image.open(tmp_path / "l" / "00000.png")).any()
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1
    with RleFile(tmp_path / "none.json"):
        pass
    assert json.loads((tmp_path / "none.json").read_text())["frames"] == []


def test_drawings_have_colours_of_ids():
    black = np.zeros((64, 96, 3), np.uint8)
    for i in (0, 4):  # the first object is at another place
        picture = draw(black, tracked(i, names={7: "dog"}))
        outline = picture[39, 30 + i]  # the lower edge of the large square
        assert tuple(outline) == class_colour(1, "1")
        assert (picture == class_colour(7, "dog 7")).all(axis=2).any()
    lost = draw(black, tracked(3))
    assert not (lost == class_colour(7, "7")).all(axis=2).any()
    assert (draw(black, tracked(0)) == class_colour(1, "red car 1")).all(axis=2).any()
    half = draw(black[::2, ::2], tracked(0))  # masks take the frame's size
    assert half.shape == (32, 48, 3) and (half == class_colour(7, "7")).all(axis=2).any()


ENDINGS = ["mp4", "mov", "mkv", "avi"]


def test_an_overlay_names_objects_and_their_probabilities():
    masks = masks_of(np.eye(40, 60, dtype=bool)[None].repeat(2, 0))
    frame = Frame(0, [1, 2], masks, np.array([0.0, 2.0]), {1: "dog"})
    wanted = Detections(
        frame.masks.boxes,
        np.float32([0.5, 1 / (1 + np.exp(-2))]),
        ["dog #1", "#2"],
        np.array([1, 2]),
        (40, 60),
        frame.masks,
    )
    picture = drawn(0, (40, 60))
    assert np.array_equal(draw(picture, frame), wanted.picture(picture))


@pytest.mark.parametrize("encoder", picture_video.ENCODERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_overlay_video(tmp_path, ending, encoder, monkeypatch):
    monkeypatch.setattr(picture_video, "ENCODERS", {encoder: picture_video.ENCODERS[encoder]})
    path, size = tmp_path / "new" / f"o.{ending}", (127, 201)  # odd sizes are padded
    pictures = [drawn(i, size) for i in range(8)]
    with OverlayVideo(path, rate=29.97) as file:
        for i, picture in enumerate(pictures):
            file.add(picture, tracked(i, size))
        assert not path.exists()
    with open_frames(path) as frames:
        found = all_of(frames)
        assert len(found) == 8 and frames.size == (128, 202)
        assert frames.rate == pytest.approx(29.97, abs=0.01)
    for i, frame in enumerate(found):
        wanted = draw(pictures[i], tracked(i, size)).astype(int)
        difference = np.abs(frame[:127, :201] - wanted)
        assert difference.mean() < 6, "other colours"
        assert np.abs(difference.mean(axis=(0, 1))).max() < 6
    assert [p.name for p in path.parent.iterdir()] == [f"o.{ending}"]


@pytest.mark.parametrize("rate", [0.25, 1 / 3600])
def test_slow_videos(tmp_path, rate):
    with OverlayVideo(tmp_path / "o.mp4", rate=rate) as file:
        for i in range(3):
            file.add(drawn(i), tracked(i))
    with open_frames(tmp_path / "o.mp4") as frames:
        assert len(all_of(frames)) == 3 and frames.rate == pytest.approx(rate)


@pytest.mark.parametrize("make", [RleFile, TrackTable, lambda path: OverlayVideo(path, rate=5)])
def test_a_file_that_cannot_be_opened_is_named(make):
    with pytest.raises(OSError, match=r"/proc/tracks\.mp4"):
        make("/proc/tracks.mp4")


def test_overlay_video_plays_in_opencv(tmp_path):
    with OverlayVideo(tmp_path / "o.mp4", rate=10) as file:
        for i in range(5):
            file.add(drawn(i), tracked(i))
    video = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and video.get(cv2.CAP_PROP_FPS) == 10
    there, frame = video.read()
    assert there and np.abs(frame[:, :, ::-1] - draw(drawn(0), tracked(0)).astype(int)).mean() < 6


def test_bad_overlays(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"o.txt: a video's name must end in .mp4"):
        OverlayVideo(tmp_path / "o.txt", rate=10)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate: expected frames per second"):
            OverlayVideo(tmp_path / "o.mp4", rate=rate)
    with pytest.raises(ValueError, match="frame 1 has 50 x 40 pixels; all frames"):
        with OverlayVideo(tmp_path / "o.mp4", rate=10) as file:
            file.add(drawn(0), tracked(0))
            file.add(drawn(1, (40, 50)), tracked(1))
    with pytest.raises(ValueError, match="o.mp4: no frame was added"):
        OverlayVideo(tmp_path / "o.mp4", rate=10).close()
    monkeypatch.setattr(picture_video, "ENCODERS", {"no_such": {}})
    with pytest.raises(NotImplementedError, match="no encoder of no_such"):
        OverlayVideo(tmp_path / "o.mp4", rate=10)
    assert not list(tmp_path.iterdir())


WRITERS = {
    "rle": (RleFile, "t.json"),
    "table": (TrackTable, "t.csv"),
    "overlay": (lambda path: OverlayVideo(path, rate=10), "t.mp4"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_an_exception_leaves_no_file(tmp_path, kind):
    make, name = WRITERS[kind]
    (tmp_path / name).write_text("before")
    with pytest.raises(RuntimeError, match="stop"):
        with make(tmp_path / name) as file:
            picture = (drawn(0),) if kind == "overlay" else ()
            file.add(*picture, tracked(0))
            raise RuntimeError("stop")
    assert (tmp_path / name).read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == [name]


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.video.test_video_writers import WRITERS
from tests.video.clips import drawn
from tests.video.tracks import tracked
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for kind, (make, name) in WRITERS.items():
    for count in (30, 100):  # it is full when the file is completed, or before
        try:
            with make(folder / name) as file:
                for i in range(count):
                    file.add(*((drawn(i, (64, 480)),) if kind == "overlay" else ()), tracked(0))
        except OSError as error:
            print(error)
print([p.name for p in folder.iterdir()])
"""


def test_a_full_disk_names_the_file(tmp_path):
    """A limit on the size of files stands for the disk."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names = [name for _, name in WRITERS.values() for _ in range(2)]
    errors = [f"[Errno 27] File too large: '{tmp_path / name}'" for name in names]
    assert done.stdout.splitlines() == [*errors, "[]"]


def test_export(tmp_path):
    frames = open_frames(clip(tmp_path / "a.mp4", 6), long_side=48)
    places = {
        "overlay": tmp_path / "out/o.mp4",
        "labels": tmp_path / "out/labels",
        "rle": tmp_path / "out/tracks.json",
        "table": tmp_path / "out/tracks.csv",
    }
    written = export((tracked(i) for i in range(6)), frames, **places)
    assert sorted(written) == sorted(places.values()) and all(p.exists() for p in written)
    with open_frames(places["overlay"]) as overlay:
        assert len(all_of(overlay)) == 6 and overlay.size == (32, 48) and overlay.rate == 10
    assert json.loads(places["rle"].read_text())["frame_rate"] == 10
    assert len(list(places["labels"].iterdir())) == 6
    with pytest.raises(ValueError, match="export: pass at least one of overlay="):
        export([], frames)
    with pytest.raises(ValueError, match="rate: must be above 0 frames per second, got 0"):
        export([], frames, table=tmp_path / "t.csv", rate=0)


def test_a_failing_session_leaves_only_label_pictures(tmp_path):
    def failing():
        yield tracked(0)
        raise RuntimeError("lost")

    frames = open_frames([drawn(0)])
    with pytest.raises(RuntimeError, match="lost"):
        export(failing(), frames, overlay=tmp_path / "o.mp4", rle=tmp_path / "r.json")
    assert not list(tmp_path.iterdir())
