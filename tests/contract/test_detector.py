"""What `Detector` returns, against transformers' post-processing on equal weights; and its bad
inputs (faults 25, 26)."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from benchmarks import random_owlv2

PROMPTS = [
    "a red circle",
    "the small blue star",
    "nuclei",
    "a photo of the big green triangle in the picture",
]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


class Pair:
    """Our detector and transformers' model with its processor on equal weights."""

    def __init__(self, preset, folder):
        import transformers

        self.folder = random_owlv2.make(preset, folder)
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


def noise(seed, size=(233, 150)):
    values = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(values).resize(size, Image.BICUBIC))


@pytest.fixture(scope="module")
def image():
    return noise(3)


def same(ours, theirs, atol, longest):
    """The same boxes with the same scores and classes; scores that differ in the last bits may
    change places."""
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
    """The rule, whichever of equal scores comes first: what is kept does not overlap, and each of
    the others overlaps one of the kept that scores no less."""
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
    """All boxes as transformers'; and by the rule itself what suppression leaves of theirs and of
    ours: among scores that saturate either may come first."""
    example = noise(8, (90, 120))
    inputs = pair.processor(images=image, query_images=example, return_tensors="pt")
    out = pair.model.image_guided_detection(**inputs)
    size = torch.tensor([image.shape[:2]])
    every = pair.ours.detect_like(image, example, threshold=0.1, nms=1.0)
    overlaps = np.sort(
        [_iou(a, b) for i, a in enumerate(every.boxes) for b in every.boxes[:i] if _iou(a, b) > 0]
    )
    nms = float(
        np.mean(overlaps[len(overlaps) // 2 - 1 :][:2])
    )  # some boxes overlap by more, some by less
    ours = pair.ours.detect_like(image, example, threshold=0.1, nms=nms)
    theirs, suppressed = (
        pair.processor.post_process_image_guided_detection(
            out, threshold=0.1, nms_threshold=n, target_sizes=size
        )[0]
        for n in (1.0, nms)
    )
    assert inspect.signature(pair.ours.detect_like).parameters["nms"].default == 0.3  # as theirs
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
    detector = segrid.Detector(random_owlv2.make("owlvit", tmp_path))
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


def test_row_25_prompts(small, image):
    detect = small.ours.detect
    twice = detect(image, ["nuclei", "nuclei"], threshold=0)
    assert set(twice.class_id) == {0}  # the first of equals
    for empty in ("", "  ", [""], ["ok", "\t"]):
        with pytest.raises(ValueError, match=r"prompts\[\d\]: empty"):
            detect(image, empty)
    with pytest.raises(ValueError, match="prompts: none given"):
        detect(image, [])
    with pytest.raises(ValueError, match=r"prompts\[1\]: an empty list of synonyms"):
        detect(image, ["x", []])
    with pytest.raises(ValueError, match="expected text, got int"):
        detect(image, [3])
    with pytest.warns(UserWarning, match=r"prompt 'red red.*tokens, the model reads 16"):
        cut = detect(image, "red " * 40, threshold=0)
    np.testing.assert_array_equal(cut.scores, detect(image, "red " * 14, threshold=0).scores)
    for odd in ("🐈 猫", "שלום", "a\0b", "é" * 5):
        assert len(detect(image, odd, threshold=0)) > 0
    with pytest.raises(ValueError, match="half a character"):
        detect(image, "\ud800")
    with pytest.raises(ValueError, match="at most 10000 prompts"):
        detect(image, ["a"] * 10_001)
    with pytest.raises(ValueError, match="characters; the limit"):
        detect(image, "a" * 20_000)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": float("nan")},
        {"threshold": 1.1},
        {"threshold": -0.1},
        {"nms": float("nan")},
        {"nms": 2},
    ],
)
def test_row_26_thresholds(small, image, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: must be from 0 to 1"):
        small.ours.detect(image, "a", **options)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2000, 4)])
def test_row_7_shapes(small, size):
    found = small.ours.detect(np.full((*size, 3), 90, np.uint8), PROMPTS, threshold=0)
    assert np.isfinite(found.boxes).all() and found.size == size


def test_images_are_checked(small):
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        small.ours.detect("nowhere.png", "a")
    with pytest.raises(ValueError, match="NaN"):
        small.ours.detect(np.full((4, 4, 3), np.nan), "a")
    with pytest.raises(ValueError, match="batch_size"):
        small.ours.detect([], "a", batch_size=0)


def test_files_are_checked(small, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(NotImplementedError, match="not a detector of this build"):
        segrid.Detector("tiny")
    with pytest.raises(NotImplementedError, match="segrid.Detector loads this one"):
        segrid.Segmenter(small.folder)
    copy = shutil.copytree(small.folder, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    same = segrid.Detector(copy, precision="fp32").detect(
        noise(3), PROMPTS
    )  # vocab.json and merges.txt
    np.testing.assert_array_equal(same.scores, small.ours.detect(noise(3), PROMPTS).scores)
    (copy / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match="neither tokenizer.json nor vocab.json"):
        segrid.Detector(copy).detect(noise(3), "a")
    (copy / "tokenizer.json").write_text("{]")
    with pytest.raises(segrid.CorruptFileError, match="tokenizer"):
        segrid.Detector(copy).detect(noise(3), "a")
    weights = load_file(copy / "model.safetensors")
    weights.pop("box_head.dense1.bias")
    weights["layer_norm.weight"] = weights["layer_norm.weight"][:-1].contiguous()
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(
        segrid.CorruptFileError, match=r"(?s)box_head.dense1.bias.*layer_norm.weight"
    ):
        segrid.Detector(copy)


@pytest.mark.parametrize("precision", ["bf16", "int8", "int8-torch"])
def test_every_precision(small, image, precision):
    try:
        detector = segrid.Detector(small.folder, precision=precision)
    except NotImplementedError:
        pytest.skip("this CPU has no bf16")
    exact, rough = (
        small.ours.detect(image, PROMPTS, threshold=0),
        detector.detect(image, PROMPTS, threshold=0),
    )
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
            if found.labels == wanted.labels:  # where no unheard-of word suits a patch better
                assert np.array_equal(found.boxes, wanted.boxes) and np.array_equal(
                    found.scores, wanted.scores
                )
                equal += 1
    assert len(wanted) > 0 and equal >= 24
    again = small.ours.detect(image, PROMPTS, threshold=0.1)
    assert np.array_equal(again.boxes, wanted.boxes) and np.array_equal(again.scores, wanted.scores)


INTERRUPTED = """
import signal, sys, threading, time, os
import numpy as np, segrid
signal.signal(signal.SIGINT, signal.default_int_handler)
detector = segrid.Detector(sys.argv[1], precision="fp32")
call = {
    "detect": lambda: detector.detect(image, "a", threshold=1),
    "pipeline": lambda: segrid.Pipeline(detector, "tiny")(image, "a", threshold=1),
    "callable": lambda: segrid.Pipeline(lambda array: time.sleep(9), "tiny")(image),
}[sys.argv[2]]
image = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
began = time.perf_counter()
try:
    call()
    print("ended by itself", time.perf_counter() - began)
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - began - 0.4)
print(len(detector.detect(image[:8, :8], "a", threshold=1)))
"""


@pytest.mark.parametrize("what", ["detect", "pipeline", "callable"])
def test_row_40_ctrl_c(slow, what):
    """A model that takes several seconds returns soon after Ctrl-C, and works afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(slow), what],
        capture_output=True,
        text=True,
        timeout=300,
    )
    word, seconds = done.stdout.split("\n")[0].rsplit(" ", 1)
    assert word == "interrupted" and float(seconds) < 0.6, done.stdout + done.stderr
    assert done.stdout.split("\n")[1] == "0"


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    with torch.no_grad():
        return random_owlv2.make("slow", tmp_path_factory.mktemp("slow"))


def test_transformers_is_not_needed(small):
    code = (
        "import sys, numpy as np\nsys.modules['transformers'] = None\nimport segrid\n"
        "detector = segrid.Detector(sys.argv[1])\n"
        "print(len(detector.detect(np.zeros((9, 9, 3), np.uint8), 'a cat', threshold=0)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(small.folder)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "64", done.stderr
