"""The results of `Detector` against transformers' post-processing on equal weights."""

import inspect
import pickle

import numpy as np
import pytest
import segrid
import torch

from tests import models
from tests.reference.detector_inputs import PROMPTS, noise


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


class Pair:
    """Our detector and transformers' model with its processor on equal weights."""

    def __init__(self, preset, folder):
        import transformers

        self.folder = models.owlv2.make(preset, folder)
        self.ours = segrid.Detector(self.folder, precision="fp32")
        kind = {"owlv2": "Owlv2", "owlvit": "OwlViT"}[self.ours.family]
        self.model = (
            getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(self.folder).eval()
        )
        self.images = getattr(transformers, f"{kind}ImageProcessorPil").from_pretrained(self.folder)
        self.words = transformers.CLIPTokenizer.from_pretrained(self.folder)
        self.processor = getattr(transformers, f"{kind}Processor")(self.images, self.words)

    def outputs(self, image, texts):
        words = self.words(
            texts, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
        )
        return self.model(
            pixel_values=self.images(image, return_tensors="pt").pixel_values, **words
        )


@pytest.fixture(scope="module", params=["small", "owlvit"])
def pair(request, tmp_path_factory):
    with torch.no_grad():
        return Pair(request.param, tmp_path_factory.mktemp(f"detector-{request.param}"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with torch.no_grad():
        return Pair("small", tmp_path_factory.mktemp("detector-alone"))


@pytest.fixture(scope="module")
def image():
    return noise(3)


def same(ours, theirs, atol, longest):
    """The same boxes with the same scores and classes. Boxes whose scores differ in the last bits
    may change places."""
    assert len(ours) == len(theirs["scores"])
    np.testing.assert_allclose(
        ours.scores, torch.sort(theirs["scores"], descending=True).values, atol=atol
    )
    apart = np.abs(ours.boxes[:, None] - theirs["boxes"].numpy()).max(2) + longest * np.abs(
        ours.scores[:, None] - theirs["scores"].numpy()
    )
    pairs = apart.argmin(1)
    assert sorted(pairs) == list(range(len(ours)))
    np.testing.assert_allclose(ours.boxes, theirs["boxes"][pairs], atol=1e-4 * longest)
    np.testing.assert_allclose(ours.scores, theirs["scores"][pairs], atol=atol)
    if theirs.get("labels") is not None:
        assert ours.class_id.tolist() == theirs["labels"][pairs].tolist()


def test_grounded(pair, cut):
    labels = set()
    for image in map(noise, (3, 4, 5)):
        threshold = cut(pair.ours.detect(image, PROMPTS, threshold=0).scores)
        theirs = pair.processor.post_process_grounded_object_detection(
            pair.outputs(image, PROMPTS), threshold, [image.shape[:2]], [PROMPTS]
        )[0]
        ours = pair.ours.detect(image, PROMPTS, threshold=threshold)
        assert len(ours) > 5, "vacuous"
        same(ours, theirs, 1e-5, max(image.shape))
        assert ours.labels == [PROMPTS[i] for i in ours.class_id]
        labels |= set(ours.labels)
    assert len(labels) > 1, "vacuous"


def check_suppression(kept, every, threshold):
    """The rule of suppression, for any order of equal scores: kept boxes do not overlap, and each
    other box overlaps a kept box whose score is not lower."""
    boxes, scores = np.asarray(every["boxes"], np.float64), np.asarray(every["scores"], np.float64)
    places = [
        int(np.abs(boxes - box).max(1).argmin()) for box in np.asarray(kept["boxes"], np.float64)
    ]
    np.testing.assert_allclose(boxes[places], kept["boxes"], atol=1e-4)
    assert 0 < len(set(places)) == len(places) < len(boxes), "vacuous"
    assert all(_iou(boxes[i], boxes[k]) <= threshold for i in places for k in places if i != k)
    for i in set(range(len(boxes))) - set(places):
        assert any(_iou(boxes[i], boxes[k]) > threshold and scores[k] >= scores[i] for k in places)


def test_image_guided(pair, image):
    """All boxes are transformers' boxes. Suppression is checked by its rule for theirs and for
    ours, because scores saturate and either of two equal boxes may come first."""
    example = noise(8, (90, 120))
    inputs = pair.processor(images=image, query_images=example, return_tensors="pt")
    out = pair.model.image_guided_detection(**inputs)
    size = torch.tensor([image.shape[:2]])
    every = pair.ours.detect_like(image, example, threshold=0.1, nms=1.0)
    overlaps = np.sort(
        [_iou(a, b) for i, a in enumerate(every.boxes) for b in every.boxes[:i] if _iou(a, b) > 0]
    )
    # Some boxes overlap by more than the threshold, some by less.
    nms = float(np.mean(overlaps[len(overlaps) // 2 - 1 :][:2]))
    ours = pair.ours.detect_like(image, example, threshold=0.1, nms=nms)
    theirs, suppressed = (
        pair.processor.post_process_image_guided_detection(
            out, threshold=0.1, nms_threshold=n, target_sizes=size
        )[0]
        for n in (1.0, nms)
    )
    # The default is theirs.
    assert inspect.signature(pair.ours.detect_like).parameters["nms"].default == 0.3
    same(every, theirs, 1e-4, max(image.shape))
    assert len(ours) == len(suppressed["scores"])
    check_suppression(suppressed, theirs, nms)
    check_suppression({"boxes": ours.boxes}, {"boxes": every.boxes, "scores": every.scores}, nms)


def test_examples_of_every_kind(small, image):
    by_box = small.ours.detect_like(image, [20, 30, 90, 120])
    assert len(small.ours.detect_like(image, [[20, 30, 90, 120], [0, 0, 50, 60]])) > 0
    same = small.ours.detect_like(image, np.array([[20, 30, 90, 120]]))
    pair = small.ours.detect_like(image, (image, [20, 30, 90, 120]))
    for other in (same, pair):
        assert np.array_equal(by_box.boxes, other.boxes) and np.array_equal(
            by_box.scores, other.scores
        )
    two = small.ours.detect_like(image, [noise(8), (noise(9), [1, 1, 100, 100])])
    assert set(two.labels) <= {"example 0", "example 1"}
    with pytest.raises(ValueError, match=r"examples\[1\].*not a box inside"):
        small.ours.detect_like(image, [[20, 30, 90, 120], [20, 30, 900, 120]])
    with pytest.raises(ValueError, match="no examples"):
        small.ours.detect_like(image, [])


def test_objectness(small, image):
    out = small.outputs(image, PROMPTS[:1])
    scores = torch.sigmoid(out.objectness_logits[0])
    ours = small.ours.propose(image, threshold=0.0)
    np.testing.assert_allclose(ours.scores, np.sort(scores.numpy())[::-1], atol=1e-5)
    assert (
        ours.labels[0] == "object" and len(small.ours.propose(image, threshold=0, max_boxes=3)) == 3
    )


def test_objectness_is_owlv2s(tmp_path, image):
    detector = segrid.Detector(models.owlv2.make("owlvit", tmp_path))
    with pytest.raises(NotImplementedError, match="owlvit model has none"):
        detector.propose(image)


def test_synonyms_share_a_label(small, image):
    apart = small.ours.detect(image, ["a red circle", "nuclei", "the small blue star"], threshold=0)
    together = small.ours.detect(
        image, ["a red circle", ["nuclei", "the small blue star"]], threshold=0
    )
    assert np.array_equal(apart.boxes, together.boxes) and np.array_equal(
        apart.scores, together.scores
    )
    assert together.class_id.tolist() == np.minimum(apart.class_id, 1).tolist()
    assert set(together.labels) == {"a red circle", "nuclei"}


def test_nms_within_labels(small, image):
    all_of_them = small.ours.detect(image, PROMPTS, threshold=0.0)
    thinned = small.ours.detect(image, PROMPTS, threshold=0.0, nms=0.3)
    kept = []
    for i in range(len(all_of_them)):
        rivals = [k for k in kept if all_of_them.class_id[k] == all_of_them.class_id[i]]
        if all(_iou(all_of_them.boxes[i], all_of_them.boxes[k]) <= 0.3 for k in rivals):
            kept.append(i)
    assert 1 < len(thinned) < len(all_of_them)
    np.testing.assert_array_equal(thinned.boxes, all_of_them.boxes[kept])


def _iou(a, b):
    w, h = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return w * h / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - w * h)


def test_lists_scenes_and_threads(small, image):
    images = [noise(i, (60 + 20 * i, 80)) for i in range(5)]
    apart = [small.ours.detect(i, PROMPTS) for i in images]
    scenes = [small.ours.encode(i) for i in images]
    for batch in (
        small.ours.detect(images, PROMPTS, batch_size=2),
        small.ours.detect(scenes, PROMPTS),
        small.ours.with_threads(1).detect(images, PROMPTS),
        pickle.loads(pickle.dumps(small.ours)).detect(images, PROMPTS),
    ):
        assert len(batch) == 5
        for one, other in zip(apart, batch, strict=True):
            assert (
                np.array_equal(one.boxes, other.boxes)
                and np.array_equal(one.scores, other.scores)
                and one.size == other.size
            )


def test_texts_are_remembered(small, image):
    scene = small.ours.encode(image)
    with segrid.Trace() as first:
        small.ours.detect(scene, ["a word never asked before"])
    with segrid.Trace() as second:
        small.ours.detect(scene, ["a word never asked before"])
    assert (
        "texts" in first.seconds()
        and "texts" not in second.seconds()
        and "score" in second.seconds()
    )


def test_detections_slice_and_export(small, image, cut):
    sv = pytest.importorskip("supervision")
    found = small.ours.detect(
        image, PROMPTS, threshold=cut(small.ours.detect(image, PROMPTS, threshold=0).scores)
    )
    assert (
        len(found[:2]) == 2
        and len(found[0]) == 1
        and len(found[found.scores > 2]) == 0
        and len(found[[]]) == 0
    )
    assert found[-1].labels == found.labels[-1:] and [len(d) for d in found] == [1] * len(found)
    with pytest.raises(IndexError):
        found[len(found)]
    out = found.to_supervision()
    assert isinstance(out, sv.Detections) and out.data["class_name"].tolist() == found.labels
    np.testing.assert_array_equal(out.xyxy, found.boxes)
    record = found.to_coco(image_id=7)[0]
    assert record["image_id"] == 7 and record["category_id"] == found.class_id[0] + 1
    np.testing.assert_allclose(
        record["bbox"][2:], found.boxes[0, 2:] - found.boxes[0, :2], rtol=1e-5
    )
    assert found.picture().shape == image.shape and not np.array_equal(found.picture(), image)
    assert found._repr_png_()[:4] == b"\x89PNG"


@pytest.mark.parametrize("precision", ["bf16", "int8", "int8-torch"])
def test_every_precision(small, image, precision):
    try:
        detector = segrid.Detector(small.folder, precision=precision)
    except NotImplementedError:
        pytest.skip("this CPU has no bf16")
    exact = small.ours.detect(image, PROMPTS, threshold=0)
    rough = detector.detect(image, PROMPTS, threshold=0)
    assert detector.precision == precision and not np.array_equal(exact.scores, rough.scores)
    assert np.abs(np.sort(exact.scores) - np.sort(rough.scores)).max() < 0.1


def test_int8_is_saved(small, image, tmp_path):
    detector = segrid.Detector(small.folder, precision="int8")
    detector.save(tmp_path / "int8")
    again = segrid.Detector(tmp_path / "int8")
    assert again.precision == "int8"
    np.testing.assert_array_equal(
        again.detect(image, PROMPTS).scores, detector.detect(image, PROMPTS).scores
    )


def test_many_threads_one_detector(small, image):
    from concurrent.futures import ThreadPoolExecutor

    wanted, equal = small.ours.detect(image, PROMPTS, threshold=0.1), 0
    with ThreadPoolExecutor(16) as pool:
        for found in pool.map(
            lambda i: small.ours.detect(
                image, [*PROMPTS, f"unheard of {i % 5}"] if i % 2 else PROMPTS, threshold=0.1
            ),
            range(48),
        ):
            # This holds where no unknown word suits a patch better.
            if found.labels == wanted.labels:
                assert np.array_equal(found.boxes, wanted.boxes) and np.array_equal(
                    found.scores, wanted.scores
                )
                equal += 1
    assert len(wanted) > 0 and equal >= 24
    again = small.ours.detect(image, PROMPTS, threshold=0.1)
    assert np.array_equal(again.boxes, wanted.boxes) and np.array_equal(again.scores, wanted.scores)
