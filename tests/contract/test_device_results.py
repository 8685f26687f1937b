"""Results of a device equal those of the CPU's kernels. The definitions that run on CUDA are tested
on the CPU ("cpu-plain"), on the fake device and, where there is one, on CUDA."""

import numpy as np
import pytest
import segrid

from tests import models
from tests.reference.agreement import same_masks

GRID = dict(points_per_side=7, pred_iou_thresh=0.5, stability_score_thresh=0.75)
OPTIONS = [
    {},
    dict(multimask=False, points_per_side=10),
    dict(use_m2m=True, points_per_side=9, pred_iou_thresh=0.7),
    dict(max_hole_area=30, max_sprinkle_area=30),
    dict(crop_n_layers=1, points_per_side=5),
    dict(candidate_memory=1),
    dict(box_nms_thresh=1.0),
    dict(mask_threshold=1.5),
    dict(min_mask_region_area=40),
]


@pytest.fixture(scope="module")
def plain(plain_device):
    return segrid.Segmenter("tiny", device=plain_device, precision="fp32")


@pytest.fixture(scope="module")
def kernels():
    return segrid.Segmenter("tiny", device="cpu", precision="fp32")


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o), "plain"))
def test_everything_gives_what_the_kernels_give(plain, kernels, coins, options):
    call = {**GRID, **options}
    memory = call.pop("candidate_memory", None)
    if memory is None:
        return same_masks(
            plain.everything(coins, **call),
            kernels.everything(coins, **call),
            pixels=2 if not options.get("use_m2m") else 4,
        )
    # With this option of the engine, runs are dropped to save memory and decoded again.
    from segrid._image import to_image

    masks = segrid.Masks(
        plain._engine.everything(
            to_image(coins), {**plain.recommended, **call, "candidate_memory": memory}
        ),
        None,
    )
    same_masks(masks, plain.everything(coins, **call))


def test_prompts_go_by_the_batch(plain, kernels, coins):
    points = np.random.default_rng(0).uniform(5, 295, (16, 1, 2))
    embedding = plain.encode(coins)
    whole = plain.predict(embedding, points=points, multimask=True)
    assert whole.stats["batch_size"] >= 16 and whole.stats["halved"] == 0
    parts = plain.predict(embedding, points=points, multimask=True, batch_size=7)
    assert parts.stats["batch_size"] == 7
    reference = kernels.predict(coins, points=points, multimask=True)
    for masks in (whole, parts):
        same_masks(masks, reference)
        assert (
            np.abs(masks.low_res - reference.low_res).max() < 1e-4 * np.abs(reference.low_res).max()
        )
    filled = dict(points=points, max_hole_area=40, max_sprinkle_area=40, mask_threshold=0.5)
    same_masks(plain.predict(embedding, **filled), kernels.predict(coins, **filled))
    assert (
        plain.predict(embedding, points=points, mask_threshold=0.5).areas
        != plain.predict(embedding, **filled).areas
    ).any(), "vacuous"


def test_prompts_of_every_kind_in_one_batch(tmp_path, coins, plain_device):
    """One batch may hold hints, boxes with points, and padding; SAM 2 gives object scores, too."""
    folder = models.sam2.make("small", tmp_path)
    a, b = (
        segrid.Segmenter(folder, device=device, precision="fp32")
        for device in ("cpu", plain_device)
    )
    rng = np.random.default_rng(1)
    points = rng.uniform(5, 295, (9, 2, 2))
    boxes = np.tile([20.0, 30, 250, 200], (9, 1)) + rng.uniform(0, 20, (9, 4))
    labels = rng.integers(-1, 2, (9, 2))
    first = a.predict(coins, points=points, labels=labels, boxes=boxes)
    for call in (
        dict(points=points, labels=labels, boxes=boxes),
        dict(points=points, labels=labels, boxes=boxes, mask_hints=first.low_res, multimask=True),
    ):
        x, y = a.predict(coins, **call), b.predict(coins, **call, batch_size=4)
        assert (
            np.abs(x.low_res - y.low_res).max() < 1e-4 * np.abs(x.low_res).max()
            and np.abs(x.object_scores - y.object_scores).max() < 1e-3
        )
        assert np.abs(x.scores - y.scores).max() < 1e-4 and x.low_res.std() > 0.1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_embedding_is_a_value_there_too(precision, coins, tmp_path, plain_device):
    segmenter = segrid.Segmenter("tiny", device=plain_device, precision=precision)
    embedding = segmenter.encode(coins)
    assert (
        embedding.features.dtype == np.float32
        and embedding == segmenter.encode(coins)
        and hash(embedding) == hash(segmenter.encode(coins))
    )
    embedding.save(tmp_path / "e.npz")
    loaded = segrid.Embedding.load(tmp_path / "e.npz", segmenter)
    assert loaded == embedding
    point = dict(points=[[100, 100]], multimask=True)
    assert np.array_equal(
        segmenter.predict(loaded, **point).low_res, segmenter.predict(embedding, **point).low_res
    )


def test_words_to_masks(plain_device):
    image = np.full((240, 320, 3), 230, np.uint8)
    y, x = np.mgrid[:240, :320]
    image[(y - 120) ** 2 + (x - 90) ** 2 < 50**2] = (210, 30, 40)
    image[80:170, 190:270] = (30, 60, 200)
    found = []
    for device in ("cpu", plain_device):
        pipeline = segrid.Pipeline(
            segrid.Detector(device=device, precision="fp32"),
            segrid.Segmenter("tiny", device=device, precision="fp32"),
        )
        found.append(pipeline(image, ["a red circle", "a blue square"], threshold=0.05))
    assert len(found[0]) == len(found[1]) > 0 and found[0].labels == found[1].labels
    assert (
        np.abs(found[0].boxes - found[1].boxes).max() < 0.05
        and np.abs(found[0].scores - found[1].scores).max() < 1e-4
    )
    assert (found[0].masks.array != found[1].masks.array).sum() <= 4 * len(found[0])


def test_it_can_be_watched_and_stopped(plain, coins):
    seen = []
    masks = plain.everything(coins, **GRID, progress=seen.append)
    assert (
        seen[-1]["done"] == seen[-1]["total"] == 49
        and {"encode", "decode", "filter"} <= {p["stage"] for p in seen}
        and len(masks) > 5
    )
    token = segrid.CancelToken()

    def stop(progress):
        if progress["stage"] == "decode":
            token.cancel()

    with pytest.raises(segrid.Cancelled) as stopped:
        plain.everything(coins, **GRID, progress=stop, cancel=token)
    assert len(stopped.value.partial) == 0  # The call stopped before the first batch.
    token = segrid.CancelToken()

    def stop_later(progress):
        if progress["stage"] == "filter":
            token.cancel()

    with pytest.raises(segrid.Cancelled) as stopped:
        plain.everything(coins, **GRID, progress=stop_later, cancel=token)
    partial = stopped.value.partial
    assert (
        len(partial) >= len(masks)
        and (partial.areas > 0).all()
        and (partial.array.sum((1, 2)) == partial.areas).all()
    )
    token = segrid.CancelToken()
    token.cancel()
    with pytest.raises(segrid.Cancelled), token:
        plain.predict(coins, points=[[50, 50]])


def test_embeddings_travel_between_devices(plain, kernels, coins):
    """An embedding made on one device is decoded on another with the same weights: the data that a
    device prepares for decoding is prepared where it is needed."""
    point = dict(points=[[100, 100], [250, 60]], multimask=True)
    half = segrid.Segmenter("tiny", device="cpu-plain", precision="fp16")
    few = dict(GRID, points_per_side=4)
    for maker, user, gate in (
        (plain, kernels, 1e-4),
        (kernels, plain, 1e-4),
        (half, kernels, 0.02),
        (kernels, half, 0.02),
        (half, plain, 0.02),
    ):
        expected = kernels.predict(coins, **point)
        found = user.predict(maker.encode(coins), **point)
        assert (
            np.abs(found.low_res - expected.low_res).max() <= gate * np.abs(expected.low_res).max()
        )
        assert abs(
            len(user.everything(maker.encode(coins), **few)) - len(kernels.everything(coins, **few))
        ) <= (0 if gate < 1e-3 else 3)


def test_dropped_runs_come_back_near_a_threshold(coins):
    """Another batch size rounds differently, so that a mask that passed a threshold may fail it
    when it is decoded again. It must come back nevertheless."""
    from segrid._image import to_image

    plain = segrid.Segmenter("tiny", device="cpu-plain", precision="fp32")
    image = to_image(coins)
    options = dict(points_per_side=6, stability_score_thresh=0.0, box_nms_thresh=0.99)
    scores = np.unique(
        segrid.Masks(
            plain._engine.everything(image, {**options, "pred_iou_thresh": 0.3}), None
        ).scores
    )
    for score in scores[:: max(1, len(scores) // 12)]:
        just_below = float(np.nextafter(score, np.float32(0)))
        masks = segrid.Masks(
            plain._engine.everything(
                image, {**options, "pred_iou_thresh": just_below, "candidate_memory": 1}
            ),
            None,
        )
        assert (masks.array.sum((1, 2)) == masks.areas).all() and (masks.areas > 0).all()


def test_texts_are_encoded_there(fake):
    """Their vectors of at least 64 numbers come from the device, and no text is encoded twice."""
    image = np.full((64, 64, 3), 230, np.uint8)
    detector = segrid.Detector(device="fake", precision="fp32")
    scene = detector.encode(image)
    fake.fake_copied_back()
    detector.detect(scene, ["a red circle", "a blue square"])
    assert fake.fake_copied_back() >= 2 * 64 * 4
    detector.detect(scene, ["a blue square"])
    assert fake.fake_copied_back() == 0
