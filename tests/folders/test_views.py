"""Views: a detector for each kind of image, chosen by the name of the file."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.folders.views import read_views

WHOLE = np.array([[4, 5, 60, 50]])


class Finder:
    """A detector that returns the given boxes and counts its calls."""

    def __init__(self, boxes, name):
        self.boxes, self.name, self.asked = boxes, name, 0

    def __call__(self, image):
        self.asked += 1
        return {"boxes": self.boxes, "labels": [self.name] * len(self.boxes)}


def views(tiny):
    return segrid.Views(
        {
            "front": segrid.View("*_front.*", Finder(WHOLE, "tooth")),
            "rest": segrid.View(("*_side.*", "*_top.*"), Finder(WHOLE / 2, "jaw")),
        },
        tiny,
    )


def test_by_the_name_of_the_file(tiny, photos):
    model, files = views(tiny), sorted(photos.iterdir())
    assert [model.view_of(f) for f in files] == ["rest", "front"] * 3 and model.view_of(
        "A_TOP.jpg"
    ) == "rest"
    for file, one in zip(files, segrid.stream(model, files), strict=True):
        boxes = WHOLE if "Front" in file.name else WHOLE / 2
        assert np.array_equal(
            one.result.masks.array, tiny.predict(file, boxes=boxes, anywhere=True).array
        )
        assert one.result.labels == ["tooth" if "Front" in file.name else "jaw"]
    assert model.views["front"].detector.asked == 3 and np.array_equal(
        model(files[0]).boxes, WHOLE / 2
    )
    pixels = np.asarray(Image.open(files[0]))
    assert np.array_equal(model(pixels, view="front").boxes, WHOLE)
    with pytest.raises(ValueError, match="of no view"):
        model.view_of("x.png")
    with pytest.raises(ValueError, match="has no name"):
        model(pixels)
    with pytest.raises(ValueError, match="there are front, rest"):
        model(pixels, view="back")
    with pytest.raises(ValueError, match="there are front, rest"):
        model.only(["back"])
    with pytest.raises(ValueError, match="there are none"):
        segrid.Views({}, tiny)
    with pytest.raises(ValueError, match="threshold"):
        segrid.View("*", threshold=2)
    assert list(model.only(["rest"]).views) == ["rest"] and list(
        pickle.loads(pickle.dumps(model)).views
    ) == ["front", "rest"]


def test_each_detector_is_loaded_once(tiny, photos, monkeypatch):
    loaded = []
    plain = segrid.Detector.__init__
    monkeypatch.setattr(
        segrid.Detector,
        "__init__",
        lambda self, *a, **k: (loaded.append(a), plain(self, *a, **k))[1],
    )
    model = segrid.Views(
        {
            "front": segrid.View("*_front.*", prompts="a"),
            "side": segrid.View("*_side.*", prompts="b"),
            "top": segrid.View("*_top.*"),
        },
        tiny,
    )
    assert loaded == []
    done = list(segrid.stream(model, sorted(photos.iterdir()) * 2))
    assert all(one.error is None for one in done)
    alone = model.with_threads(1)
    # Each copy has its own segmenter, whichever of them loaded the detector.
    assert (
        alone.pipeline("front").segmenter is alone.segmenter
        and model.pipeline("front").segmenter is model.segmenter
    )
    assert (
        alone.pipeline("side").detector._arguments["threads"] == 1
        and model.pipeline("side").detector._arguments["threads"] is None
        and len(loaded) == 2
    )


class Poses:
    """A function path -> view, like one that reads camera poses. It counts its calls and can be
    pickled."""

    def __init__(self, **told):
        self.told, self.asked = told, []

    def __call__(self, path):
        self.asked.append((path, threading.current_thread().name))
        found = self.told[Path(path).stem[:2]]
        if isinstance(found, Exception):
            raise found
        return found


def test_a_function_tells_the_view(tiny, photos):
    files = sorted(photos.iterdir())
    poses = Poses(
        p0="front", p1=None, p2="back", p3="rest", p4=KeyError("no pose for p4"), p5="front"
    )
    finders = {"front": Finder(WHOLE, "tooth"), "rest": Finder(WHOLE / 2, "jaw")}
    model = segrid.Views(
        {name: segrid.View(detector=finder) for name, finder in finders.items()},
        tiny,
        view_of=poses,
    )
    seen = list(segrid.stream(model, files))
    # An image whose view is None is left out.
    assert [one.index for one in seen] == [0, 2, 3, 4, 5]
    assert [one.result and one.result.labels for one in seen] == [
        ["tooth"],
        None,
        ["jaw"],
        None,
        ["tooth"],
    ]
    assert str(seen[1].error) == f"{files[2]}: view_of returned 'back'; there are front, rest"
    assert isinstance(seen[3].error, KeyError)
    # The function is called once for each image.
    assert poses.asked == [(f, threading.main_thread().name) for f in files]
    assert np.array_equal(seen[2].result.masks.array, tiny.predict(files[3], boxes=WHOLE / 2).array)
    assert model(files[0]).labels == ["tooth"] and model(files[1], view="rest").labels == ["jaw"]
    with pytest.raises(ValueError, match="leaves this image out"):
        model(files[1])
    for same in (pickle.loads(pickle.dumps(model)), model.with_threads(1)):
        assert [same.view_of(f) for f in (files[0], files[1], files[3])] == ["front", None, "rest"]
    alone = model.only(["rest"])
    assert [alone.view_of(f) for f in (files[0], files[1], files[3])] == [None, None, "rest"]
    assert [one.index for one in segrid.stream(alone, files) if one.error is None] == [3]
    with pytest.raises(ValueError, match="returned 'back'; there are rest"):
        alone.view_of(files[2])
    beside = segrid.Views(
        {"front": segrid.View("*_side.*", finders["front"]), "rest": segrid.View()},
        tiny,
        view_of=lambda path: "rest",
    )
    assert beside.view_of(files[0]) == "rest"  # Patterns do not count beside view_of.
    patterns = segrid.Views({"front": segrid.View("*_side.*"), "rest": segrid.View()}, tiny)
    assert patterns.view_of(files[0]) == "front"
    with pytest.raises(ValueError, match="of no view"):
        patterns.view_of(files[1])


def test_files_beside_the_rules(tmp_path):
    (tmp_path / "front.torchscript").write_bytes(b"")
    (tmp_path / "views.json").write_text(
        '{"a": {"pattern": "*", "detector": "front.torchscript"}, '
        '"b": {"pattern": "*", "detector": "google/owlv2", "nms": 0.5}}'
    )
    found = read_views(tmp_path / "views.json", 0.3, 0.7)
    assert (
        found["a"].detector == str(tmp_path / "front.torchscript")
        and found["b"].detector == "google/owlv2"
    )
    assert (found["a"].threshold, found["a"].nms, found["b"].nms) == (0.3, 0.7, 0.5)
