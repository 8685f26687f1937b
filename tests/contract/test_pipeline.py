"""Words or boxes to masks: `Pipeline`."""

import types

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from tests import models


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    with torch.no_grad():
        return segrid.Detector(
            models.owlv2.make("small", tmp_path_factory.mktemp("pipeline")), precision="fp32"
        )


@pytest.fixture(scope="module")
def pipeline(detector, tiny):
    return segrid.Pipeline(detector, tiny)


PROMPTS = ["a red circle", ["nuclei", "cells"]]


@pytest.fixture(scope="module")
def threshold(detector, coins, cut):
    """A threshold that keeps at least six boxes."""
    return cut(detector.detect(coins, PROMPTS, threshold=0).scores)


def test_equals_its_parts(pipeline, detector, tiny, coins, threshold):
    """The boxes are the detector's, the masks are the segmenter's for these boxes, in the same
    order."""
    found = pipeline(coins, PROMPTS, threshold=threshold)
    alone = detector.detect(coins, PROMPTS, threshold=threshold)
    assert len(found) > 5, "vacuous"
    for name in ("boxes", "scores", "class_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    assert found.labels == alone.labels
    masks = tiny.predict(coins, boxes=alone.boxes, anywhere=True)
    np.testing.assert_array_equal(found.masks.array, masks.array)
    np.testing.assert_array_equal(found.masks.scores, masks.scores)
    assert found.masks.prompt.tolist() == list(range(len(found)))
    part = found[3:5]
    np.testing.assert_array_equal(part.masks.array, masks.array[3:5])


def test_nothing_found(pipeline, coins):
    found = pipeline(coins, PROMPTS, threshold=1.0)
    assert (
        len(found) == 0
        and found.masks.array.shape == (0, *coins.shape[:2])
        and found.boxes.shape == (0, 4)
        and found.to_coco() == []
    )
    assert found.picture().shape == coins.shape


def test_exports_carry_masks(pipeline, coins, threshold):
    sv = pytest.importorskip("supervision")
    mask = pytest.importorskip("pycocotools.mask")
    found = pipeline(coins, PROMPTS, threshold=threshold)
    out = found.to_supervision()
    assert (
        isinstance(out, sv.Detections)
        and np.array_equal(out.mask, found.masks.array)
        and out.data["class_name"].tolist() == found.labels
    )
    for record, pixels, score in zip(
        found.to_coco(), found.masks.array, found.masks.scores, strict=True
    ):
        assert np.array_equal(mask.decode(record["segmentation"]).astype(bool), pixels)
        assert record["area"] == pixels.sum() and record["predicted_iou"] == pytest.approx(score)
    assert not np.array_equal(found.picture(), found.picture(alpha=0))


BOXES = np.array([[100, 40, 180, 120], [20, 30, 90, 100], [22, 31, 91, 101]], np.float32)
SCORES = np.array([0.5, 0.9, 0.4], np.float32)


def ultralytics_like():
    boxes = types.SimpleNamespace(
        xyxy=torch.tensor(BOXES), conf=torch.tensor(SCORES), cls=torch.tensor([1.0, 0.0, 0.0])
    )
    return [types.SimpleNamespace(boxes=boxes, names={0: "coin", 1: "lid"})]


FORMS = {
    "array": (lambda: BOXES, ["object"] * 3, [1, 1, 1]),
    "scored array": (lambda: np.column_stack([BOXES, SCORES]), ["object"] * 3, [0.9, 0.5, 0.4]),
    "scored and classed": (
        lambda: torch.tensor(np.column_stack([BOXES, SCORES, [1, 0, 0]])),
        ["class 0", "class 1", "class 0"],
        [0.9, 0.5, 0.4],
    ),
    "tuple": (
        lambda: (BOXES.tolist(), SCORES, ["lid", "coin", "coin"]),
        ["coin", "lid", "coin"],
        [0.9, 0.5, 0.4],
    ),
    "dict": (
        lambda: {
            "boxes": torch.tensor(BOXES),
            "scores": torch.tensor(SCORES),
            "labels": ["lid", "coin", "coin"],
        },
        ["coin", "lid", "coin"],
        [0.9, 0.5, 0.4],
    ),
    "transformers": (
        lambda: {
            "boxes": torch.tensor(BOXES),
            "scores": torch.tensor(SCORES),
            "labels": torch.tensor([3, 0, 0]),
            "text_labels": None,
        },
        ["class 0", "class 3", "class 0"],
        [0.9, 0.5, 0.4],
    ),
    "one class": (
        lambda: np.column_stack([BOXES, SCORES, [0, 0, 0]]),
        ["class 0"] * 3,
        [0.9, 0.5, 0.4],
    ),
    "ultralytics": (ultralytics_like, ["coin", "lid", "coin"], [0.9, 0.5, 0.4]),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_callable(tiny, coins, form):
    make, labels, scores = FORMS[form]
    seen = []
    found = segrid.Pipeline(lambda image: seen.append(image) or make(), tiny)(coins)
    assert np.array_equal(seen[0], coins)
    assert found.labels == labels and found.scores.tolist() == pytest.approx(scores)
    order = np.argsort(-np.array(SCORES)) if form != "array" else range(3)
    np.testing.assert_array_equal(found.masks.array, tiny.predict(coins, boxes=BOXES[order]).array)


def test_ultralytics_gets_what_it_takes_for_rgb(tiny):
    """ultralytics' models take arrays as BGR, and Pillow's images as RGB."""
    seen = []

    class Yolo:
        __module__ = "ultralytics.engine.model"

        def __call__(self, image):
            seen.append(image)
            return ultralytics_like()

    picture = np.zeros((130, 190, 3), np.uint8)
    picture[..., 0] = 200
    segrid.Pipeline(Yolo(), tiny)(picture)
    assert isinstance(seen[0], Image.Image) and np.array_equal(np.asarray(seen[0]), picture)


@pytest.mark.parametrize("way", ["words", "boxes"])
def test_boxes_at_once(pipeline, coins, way, four_threads):
    pipe, arguments = pipeline, {"prompts": PROMPTS, "threshold": 0}
    if way == "boxes":
        pipe = segrid.Pipeline(None, pipeline.segmenter)
        arguments = {"boxes": np.tile(BOXES, (9, 1))}
    at_once = {}
    for size in (1, None):
        with segrid.Trace() as trace:
            found = pipe(coins, **arguments, batch_size=size)
        assert len([e for e in trace.events if e[0] == "decode"]) == len(found) > 20
        at_once[size] = trace.at_once("decode")
    assert at_once[1] == 1 and at_once[None] > 1
    with pytest.raises(ValueError, match="batch_size"):
        pipe(coins, **arguments, batch_size=0)


def test_supervision_and_prompts(tiny, coins):
    sv = pytest.importorskip("supervision")
    asked = []

    def detect(image, prompts):
        asked.append(prompts)
        return sv.Detections(
            xyxy=BOXES,
            confidence=SCORES,
            class_id=np.array([1, 0, 0]),
            data={"class_name": np.array(["lid", "coin", "coin"])},
        )

    found = segrid.Pipeline(detect, tiny)(coins, ["coin", "lid"], threshold=0.45, nms=0.5)
    assert (
        asked == [["coin", "lid"]]
        and found.labels == ["coin", "lid"]
        and found.class_id.tolist() == [0, 1]
    )
    # The scores are the same without NMS.
    assert segrid.Pipeline(detect, tiny)(
        coins, ["coin", "lid"], threshold=0.45
    ).scores.tolist() == pytest.approx([0.9, 0.5])
    thinned = segrid.Pipeline(detect, tiny)(coins, ["coin", "lid"], threshold=0.0, nms=0.5)
    # The third box overlaps the first and has the same class.
    assert thinned.labels == ["coin", "lid"]


def test_pictures_of_odd_boxes(tiny, coins):
    boxes = [[50.0, 50, 10, 10], [1e8, 5, 2e8, 9], [-1e8, -5, 3, 1e8]]
    odd = segrid.Pipeline(lambda array: boxes, tiny)(coins)
    assert odd.picture().shape == coins.shape


def test_boxes_need_no_detector(tiny, coins):
    found = segrid.Pipeline(None, tiny)(coins, boxes=BOXES, labels=["a", "b", "a"])
    assert (
        found.labels == ["a", "b", "a"]
        and found.class_id.tolist() == [0, 1, 0]
        and found.scores.tolist() == [1, 1, 1]
    )
    np.testing.assert_array_equal(found.masks.array, tiny.predict(coins, boxes=BOXES).array)
    beyond = segrid.Pipeline(None, tiny)(coins, boxes=[[-20, -10, 50, 60]])
    assert beyond.boxes[0].tolist() == [-20, -10, 50, 60] and beyond.masks.areas[0] > 0
    assert len(segrid.Pipeline(None, tiny)(coins, boxes=[])) == 0


def test_errors(tiny, coins, pipeline):
    with pytest.raises(ValueError, match="no boxes, and no detector"):
        segrid.Pipeline(None, tiny)(coins)
    with pytest.raises(ValueError, match="no prompts"):
        pipeline(coins)
    with pytest.raises(ValueError, match=r"boxes\[1\].*not finite"):
        segrid.Pipeline(None, tiny)(coins, boxes=[[1, 2, 3, 4], [1, np.nan, 3, 4]])
    with pytest.raises(ValueError, match="lengths differ"):
        segrid.Pipeline(None, tiny)(coins, boxes=BOXES, labels=["a"])
    with pytest.raises(ValueError, match="cannot make boxes of"):
        segrid.Pipeline(lambda image: "nothing", tiny)(coins)
    with pytest.raises(ValueError, match="not both"):
        pipeline(coins, "nuclei", boxes=BOXES)
    with pytest.raises(ValueError, match="labels belong to boxes"):
        pipeline(coins, "nuclei", labels=["a"])
    with pytest.raises(ZeroDivisionError):
        segrid.Pipeline(lambda image: 1 / 0, tiny)(coins)
    with pytest.raises(TypeError, match="expected a Detector"):
        segrid.Pipeline(3, tiny)
    with pytest.raises(ValueError, match="prompts"):
        pipeline(coins, [""])
    assert len(pipeline(coins, "nuclei", threshold=0)) > 0  # The pipeline works afterwards.


def test_names_of_a_callable_get_the_index_of_their_prompt(tiny, coins):
    prompts = ["cat", ["dog", "hound"]]
    box = [10.0, 10, 40, 40]
    for names, ids in ((["hound", "cat"], [1, 0]), (["cat"], [0]), (["bird", "dog"], [2, 1])):

        def detector(array, prompts, names=names):
            return {"boxes": [box] * len(names), "labels": names}

        found = segrid.Pipeline(detector, tiny)(coins, prompts)
        assert found.class_id.tolist() == ids and found.labels == names
    transformers = {"boxes": [box] * 2, "labels": [1, 0], "text_labels": ["dog", "cat"]}
    found = segrid.Pipeline(lambda array, prompts: transformers, tiny)(coins, prompts)
    assert found.class_id.tolist() == [1, 0] and found.labels == ["dog", "cat"]


@pytest.mark.parametrize("box", [[30, 30, 20, 40], [30, 30, 40, 20], [30, 30, 30, 40]])
def test_boxes_of_the_user_have_an_area(tiny, coins, box):
    with pytest.raises(ValueError, match=r"boxes\[1\].*reversed or has no area"):
        segrid.Pipeline(None, tiny)(coins, boxes=[[1, 1, 20, 20], box])


def test_scores_of_a_callable_are_numbers(tiny, coins):
    pipeline = segrid.Pipeline(lambda array: [[1, 1, 20, 20, float("nan")]], tiny)
    with pytest.raises(ValueError, match=r"scores\[0\] is nan"):
        pipeline(coins)
