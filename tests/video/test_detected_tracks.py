"""Objects that a detector finds, followed: who joins, and what each frame tells of them."""

import json
import pickle

import numpy as np
import pytest
import segrid
import torch
from segrid.detections import Detections
from segrid.video.detected_tracks import Schedule, Tracks

from tests import models
from tests.video.clips import SIZE, drawn, encode

FRAMES = 20
CLIP = [drawn(i) for i in range(FRAMES)]
SQUARE, GROUND = [6, 10, 40, 34], [50, 20, 90, 60]


class Finds:
    """A detector that gives the next of these lists of (box, score, label) at each call."""

    def __init__(self, *lists):
        self.lists, self.pictures = list(lists), []

    def __call__(self, picture):
        self.pictures.append(picture)
        found = self.lists[min(len(self.pictures), len(self.lists)) - 1]
        boxes = np.array([box for box, *_ in found], np.float32).reshape(-1, 4)
        return boxes, [score for _, score, _ in found], [label for *_, label in found]


def tracked(tracker, detector, source=None, **how):
    pipeline = segrid.Pipeline(detector, tracker)
    with pipeline.track(CLIP if source is None else source, **how) as tracks:
        return list(tracks)


def by_hand(tracker, prompts, **options):
    """The masks of objects that are prompted by boxes, {frame: {id: (H, W) bool}}."""
    with tracker.open(CLIP, **options) as session:
        for number, box in enumerate(prompts, 1):
            session.add(number, boxes=box)
        return {f.index: dict(zip(f.ids, f.masks.array, strict=True)) for f in session.propagate()}


def test_a_frame_tells_boxes_scores_labels_masks_and_numbers(tracker):
    detector = Finds([(SQUARE, 0.9, "square"), (GROUND, 0.4, "ground")])
    told = []
    found = tracked(tracker, detector, progress=told.append)
    wanted = by_hand(tracker, [SQUARE, GROUND])
    assert len(found) == FRAMES and len(detector.pictures) == 1
    assert sum(len(f) for f in found) > FRAMES, "vacuous"
    for index, frame in enumerate(found):
        masks = {i: mask for i, mask in wanted[index].items() if mask.any()}
        assert frame.tracker_id.tolist() == list(masks) and frame.size == SIZE
        assert frame.labels == [{1: "square", 2: "ground"}[i] for i in masks]
        assert frame.scores.tolist() == [np.float32({1: 0.9, 2: 0.4}[i]) for i in masks]
        assert frame.class_id.tolist() == [i - 1 for i in masks]
        for mask, box, other in zip(frame.masks.array, frame.boxes, masks.values(), strict=True):
            rows, columns = np.nonzero(other)
            assert np.array_equal(mask, other)
            assert box.tolist() == [
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            ]
    assert [t["done"] for t in told] == list(range(1, FRAMES + 1)) and told[0]["total"] == FRAMES


def test_numbers_go_to_supervision_pickles_and_parts(tracker):
    frame = tracked(tracker, Finds([(SQUARE, 0.9, "a"), (GROUND, 0.4, "b")]))[0]
    assert frame.to_supervision().tracker_id.tolist() == [1, 2]
    assert frame[1].tracker_id.tolist() == [2] and frame[[]].tracker_id.shape == (0,)
    other = pickle.loads(pickle.dumps(frame))
    assert other == frame and other.tracker_id.tolist() == [1, 2]
    parts = (frame.boxes, frame.scores, frame.labels, frame.class_id, frame.size, frame.masks)
    assert segrid.Detections(*parts) != frame
    assert segrid.Detections(*parts).to_supervision().tracker_id is None
    with pytest.raises(ValueError, match="tracker_id"):
        segrid.Detections(*parts, tracker_id=np.arange(3))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_detections_that_fit_an_object_of_their_label_are_that_object(tracker):
    """The IoU is measured here between the followed mask and that of the detected box alone."""
    with tracker.open(CLIP) as session:
        session.add(1, boxes=SQUARE)
        followed = [f.masks.array[0] for f in session.propagate()][6]
    alone = tracker.segmenter.predict(CLIP[6], boxes=[GROUND]).array[0]
    shared = iou(followed, alone)
    assert 0.02 < shared < 0.98, "vacuous"
    first = [(SQUARE, 0.9, "square")]

    def ids(label, least):
        detector = Finds(first, [(GROUND, 0.3, label)], [])
        found = tracked(tracker, detector, every=6, match_iou=least)
        assert len(detector.pictures) == 4  # frames 0, 6, 12 and 18
        assert np.array_equal(detector.pictures[1], CLIP[6])
        return found

    same = ids("square", shared - 0.01)
    assert {i for f in same for i in f.tracker_id.tolist()} == {1}
    assert same[5].scores[0] == np.float32(0.9) and same[6].scores[0] == np.float32(0.3)
    for found in (ids("square", shared + 0.01), ids("ground", shared - 0.01)):
        assert {i for f in found[:6] for i in f.tracker_id.tolist()} == {1}
        assert {i for f in found[6:] for i in f.tracker_id.tolist()} == {1, 2}
        assert all(f.scores[0] == np.float32(0.9) for f in found if 1 in f.tracker_id)


def test_an_object_that_joins_leaves_the_others_as_they_were(tracker):
    alone = tracked(tracker, Finds([(SQUARE, 0.9, "square")]))
    found = tracked(
        tracker, Finds([(SQUARE, 0.9, "square")], [(GROUND, 0.5, "ground")], []), every=7
    )
    assert any(2 in f.tracker_id for f in found), "vacuous"
    for one, two in zip(alone, found, strict=True):
        assert one == two[two.tracker_id == 1]


def one_by_one(clip):
    yield from clip


@pytest.mark.parametrize(
    "source", [lambda: CLIP, lambda: one_by_one(CLIP)], ids=["list", "iterator"]
)
def test_frames_before_the_first_object_are_empty(tracker, source):
    detector = Finds([], [], [(SQUARE, 0.9, "square")])
    found = tracked(tracker, detector, source(), every=4)
    assert len(found) == FRAMES and all(len(f) == 0 for f in found[:8])
    assert found[8].tracker_id.tolist() == [1] and found[0].masks.size == SIZE
    assert [len(f) for f in tracked(tracker, Finds([]), source())] == [0] * FRAMES


@pytest.mark.parametrize(
    "source", [lambda: CLIP, lambda: one_by_one(CLIP)], ids=["list", "iterator"]
)
def test_objects_may_join_in_the_last_frame(tracker, source):
    boxes = [(SQUARE, 0.9, "square"), (GROUND, 0.5, "ground"), ([0, 0, 96, 64], 0.2, "all")]
    found = tracked(tracker, Finds([], boxes), source(), every=FRAMES - 1)
    assert len(found) == FRAMES and len(found[-1]) and not any(len(f) for f in found[:-1])


def test_boxes_are_of_the_reduced_frame_and_cut_to_it(tracker):
    reduced = Finds([([3, 5, 20, 17], 0.9, "square"), ([-9, -9, -1, -1], 0.5, "outside")])
    found = tracked(tracker, reduced, long_side=48)
    wanted = by_hand(tracker, [SQUARE], long_side=48)
    assert reduced.pictures[0].shape == (32, 48, 3)
    assert {i for f in found for i in f.tracker_id.tolist()} == {1}
    assert all(
        np.array_equal(f.masks.array[0], wanted[i][1]) for i, f in enumerate(found) if len(f)
    )
    # 19 * (21 / 19) is more than 21.
    border = Finds([([2, 2, 99, 99], 0.9, "square")])
    assert len(tracked(tracker, border, [drawn(0, (21, 16))], long_side=19)) == 1
    over = tracked(tracker, Finds([([-20, 10, 40, 34], 0.9, "square")]))[0]
    assert over == tracked(tracker, Finds([([0, 10, 40, 34], 0.9, "square")]))[0]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    with torch.no_grad():
        return segrid.Detector(models.owlv2.make("small", tmp_path_factory.mktemp("tracks-owl")))


def test_all_prompts_take_one_pass(tracker, detector, monkeypatch):
    calls, detect = [], segrid.Detector.detect

    def counted(self, image, prompts, **how):
        calls.append(prompts)
        return detect(self, image, prompts, **how)

    monkeypatch.setattr(segrid.Detector, "detect", counted)
    prompts = ["red circle", "small blue star", "a tree"]
    pipeline = segrid.Pipeline(detector, tracker)
    how = {"threshold": 0.03, "nms": 0.1}
    wanted = detect(detector, CLIP[0], prompts, **how)
    assert len(set(wanted.labels)) > 1, "vacuous"
    with pipeline.track(CLIP[:4], prompts, every=2, **how) as tracks:
        next(tracks)
        assert set(tracks.frame.names.values()) <= set(prompts) and len(tracks.frame.ids) > 1
        next(tracks)
        next(tracks)
    assert calls == [prompts, prompts]


def test_what_follows_may_be_a_segmenter_or_a_tracker(tracker, video_model, tiny):
    detector = Finds([(SQUARE, 0.9, "square")])
    by_name = segrid.Pipeline(detector, video_model, precision="fp32")
    assert list(by_name.track(CLIP)) == tracked(tracker, Finds([(SQUARE, 0.9, "square")]))
    assert by_name.tracker.model_id == by_name.segmenter.model_id
    image = segrid.Pipeline(None, tracker)(CLIP[0], boxes=[SQUARE])
    wanted = segrid.Segmenter(video_model, precision="fp32").predict(CLIP[0], boxes=[SQUARE])
    assert np.array_equal(image.masks.array, wanted.array)
    everything = {"pred_iou_thresh": 0.0, "points_per_side": 4}
    assert tracker.segmenter.everything(CLIP[0], **everything).size == SIZE
    one = segrid.Pipeline(None, tracker).with_threads(1)
    assert one(CLIP[0], boxes=[SQUARE]) == image
    with pytest.raises(NotImplementedError):
        segrid.Pipeline(detector, tiny).track(CLIP)


def test_a_pickle_of_the_pipeline_tracks(video_model):
    tracker = segrid.Tracker(video_model, precision="fp32", image_side=96)
    other = pickle.loads(pickle.dumps(segrid.Pipeline(None, tracker)))
    assert other.tracker.side == 96 and other.segmenter.side == 96


def test_the_session_exports_and_a_loop_may_stop(tracker, tmp_path):
    path = tmp_path / "clip.mp4"
    encode(CLIP, str(path))
    pipeline = segrid.Pipeline(Finds([(SQUARE, 0.9, "square")]), tracker)
    with pipeline.track(path) as tracks:
        for _, _ in zip(range(5), tracks, strict=False):
            pass
        assert tracks.frame.index >= 4 and tracks.frame.names == {1: "square"}
        assert tracks.session.tracked_frames[-1] == tracks.frame.index
        (table,) = tracks.export(table=tmp_path / "t.csv")
        assert table.read_text().splitlines()[1].startswith("0,1,square,")
    assert list(tracks) == []
    token = segrid.CancelToken()
    with pipeline.track(path, cancel=token) as tracks:
        next(tracks)
        token.cancel()
        with pytest.raises(segrid.Cancelled):
            next(tracks)


@pytest.mark.parametrize(
    "how, says",
    [
        ({"every": 0}, "every"),
        ({"match_iou": 0}, "match_iou"),
        ({"threshold": 2}, "threshold"),
        ({"nms": -1}, "nms"),
    ],
)
def test_values_that_do_not_fit(tracker, how, says):
    with pytest.raises(ValueError, match=says):
        segrid.Pipeline(Finds([]), tracker).track(CLIP, **how)


def test_missing_detectors_and_prompts(tracker, detector):
    with pytest.raises(ValueError, match="detector"):
        segrid.Pipeline(None, tracker).track(CLIP)
    with pytest.raises(ValueError, match="prompts"):
        segrid.Pipeline(detector, tracker).track(CLIP)
    with pytest.raises(TypeError, match="unknown option"):
        segrid.Pipeline(Finds([]), tracker).track(CLIP, nonsense=1)


def test_a_cancelled_track_ends_before_its_first_object(tracker):
    cancel = segrid.CancelToken()
    with segrid.Pipeline(Finds([]), tracker).track(CLIP, cancel=cancel) as tracks:
        next(tracks)
        cancel.cancel()
        with pytest.raises(segrid.Cancelled, match="frame 1"):
            next(tracks)


@pytest.mark.parametrize("start", [0, 2])
def test_an_export_begins_with_the_earlier_of_start_and_schedule(tracker, tmp_path, start):
    none = Detections(np.empty((0, 4)), np.empty(0), [], np.empty(0, np.int64), SIZE)
    with tracker.open(CLIP[:6]) as session:
        session.add(1, boxes=SQUARE)
        schedule = Schedule(first=2 - start)
        found = Tracks(session, tracker.segmenter, lambda picture: none, schedule, start=start)
        assert len(list(found)) == 6 - start
        (file,) = found.export(rle=tmp_path / "masks.json")
    frames = json.loads(file.read_text())["frames"]
    assert [frame["index"] for frame in frames] == list(range(6))


def test_an_export_has_every_frame_that_was_given(tracker, tmp_path):
    """Also the frames before the first object, and those in which an object joined last."""
    from pycocotools import mask as coco

    detector = Finds(
        [], [], [(SQUARE, 0.9, "square")], [(SQUARE, 0.9, "square"), (GROUND, 0.4, "ground")]
    )
    with segrid.Pipeline(detector, tracker).track(CLIP[:10], every=3) as tracks:
        shown = [tracks.frame for _ in tracks]
        (file,) = tracks.export(rle=tmp_path / "masks.json")
    written = {f["index"]: f["objects"] for f in json.loads(file.read_text())["frames"]}
    assert list(written) == [frame.index for frame in shown] == list(range(10))
    assert written[0] == written[5] == [] and written[9]
    for index, objects in written.items():
        there = {one["id"]: coco.decode(one["segmentation"]) for one in objects if one["area"]}
        masks = dict(zip(shown[index].ids, shown[index].masks.array, strict=True))
        masks = {number: mask for number, mask in masks.items() if mask.any()}
        assert list(there) == list(masks)
        assert all(np.array_equal(there[number], masks[number]) for number in there)
