"""Prompts and options: rows 17 to 24 and 26 of the bad inputs in tests/README.md."""

import numpy as np
import pytest
import segrid

from tests.building_blocks import kernels


@pytest.fixture(scope="module")
def embedding(tiny, coins):
    return tiny.encode(coins)


@pytest.mark.parametrize(
    "point", [[500, 20], [-1, 20], [20, 400], [np.nan, 2], [2, np.inf], [1e30, 1]]
)
def test_row_17_points_outside(tiny, embedding, point):
    with pytest.raises(ValueError, match=r"points\[1\]\[0\]"):
        tiny.predict(embedding, points=[[10, 10], point])


def test_row_18_labels(tiny, embedding):
    with pytest.raises(ValueError, match=r"labels\[0\]\[0\]: 7"):
        tiny.predict(embedding, points=[[10, 10]], labels=[7])
    with pytest.raises(ValueError, match=r"shape \(3,\).*shape \(2, 1, 2\)"):
        tiny.predict(embedding, points=[[10, 10], [20, 20]], labels=[1, 1, 1])
    with pytest.raises(ValueError, match="one prompt of K points"):
        tiny.predict(embedding, points=[[10, 10], [20, 20]], labels=[1])
    assert len(tiny.predict(embedding, points=[[[10, 10], [0, 0]]], labels=[[1, -1]])) == 1


@pytest.mark.parametrize(
    "box,what",
    [
        ([50, 10, 20, 40], "reversed"),
        ([10, 10, 10, 40], "no area"),
        ([10, 10, 900, 40], "not inside"),
        ([np.nan, 1, 2, 3], "not finite"),
    ],
)
def test_row_19_boxes(tiny, embedding, box, what):
    with pytest.raises(ValueError, match=rf"boxes\[1\].*{what}"):
        tiny.predict(embedding, boxes=[[1, 1, 20, 20], box])


def test_anywhere_takes_what_the_originals_take(tiny, embedding):
    found = tiny.predict(
        embedding, points=[[-500.0, 9000]], boxes=[[120, 85, -20, 85]], anywhere=True
    )
    assert len(found) == 1 and np.isfinite(found.low_res).all()
    unknown = tiny.predict(embedding, points=[[100, 90]], labels=[9], anywhere=True)
    # Only the position of an unknown label is encoded; compat/ compares the masks with the
    # originals'.
    assert len(unknown) == 1
    for nonsense in (dict(points=[[np.nan, 2]]), dict(boxes=[[0, 0, np.inf, 2]])):
        with pytest.raises(ValueError, match=r"\[0\]"):
            tiny.predict(embedding, **nonsense, anywhere=True)


def test_resized_images_have_the_models_size(tiny, coins):
    with pytest.raises(ValueError, match="becomes 202 x 256.*got 100 x 256"):
        tiny.encode_resized(np.zeros((100, 256, 3)), coins.shape[:2])
    with pytest.raises(ValueError, match="NaN"):
        tiny.encode_resized(np.full((202, 256, 3), np.nan), coins.shape[:2])
    with pytest.raises(ValueError, match=r"\(h, w, 3\)"):
        tiny.encode_resized(np.zeros((202, 256)), coins.shape[:2])


def test_row_19_corners_can_be_sorted(tiny, embedding):
    right = tiny.predict(embedding, boxes=[[120, 25, 180, 85]])
    for box in ([180, 85, 120, 25], [120, 85, 180, 25]):
        assert (
            tiny.predict(embedding, boxes=[box], sort_corners=True).low_res == right.low_res
        ).all()


def test_row_20_no_prompts(tiny, embedding):
    for nothing in (
        {},
        {"points": np.zeros((0, 2))},
        {"boxes": np.zeros((0, 4))},
        {"points": np.zeros((1, 0, 2))},
    ):
        with pytest.raises(ValueError, match="no prompts"):
            tiny.predict(embedding, **nothing)
    with pytest.raises(ValueError, match="without points"):
        tiny.predict(embedding, labels=[1])


def test_row_21_mask_hints(tiny, embedding):
    with pytest.raises(ValueError, match="128, 128"):
        tiny.predict(embedding, mask_hints=np.zeros((1, 64, 64), np.float32))
    with pytest.raises(ValueError, match="float logits"):
        tiny.predict(embedding, mask_hints=np.zeros((1, 128, 128), np.int64))
    bad = np.zeros((2, 128, 128), np.float32)
    bad[1, 3, 3] = np.nan
    with pytest.raises(ValueError, match=r"mask_hints\[1\]"):
        tiny.predict(embedding, mask_hints=bad)


def test_row_22_grids(tiny, coins):
    for n in (0, -1, 10**6):
        with pytest.raises(ValueError, match="points_per_side: must be from 1 to 500"):
            tiny.everything(coins, points_per_side=n)
    with pytest.raises(ValueError, match="the limit is 250000"):
        tiny.everything(coins, points_per_side=400, crop_n_layers=3)
    with pytest.raises(ValueError, match="target_points"):
        tiny.everything(coins, target_points=0)
    with pytest.raises(ValueError, match="one of"):
        tiny.everything(coins, target_points=10, points_per_side=3)
    with pytest.raises(ValueError, match=r"point_grids\[0\]\[1\]"):
        tiny.everything(coins, point_grids=[[[0.5, 0.5], [0.5, 1.5]]])


def test_row_23_nothing_passes(tiny, coins):
    masks = tiny.everything(
        coins, points_per_side=3, pred_iou_thresh=1.0, stability_score_thresh=1.0
    )
    assert len(masks) == 0
    assert masks.array.shape == (0, 303, 384) and masks.array.dtype == bool
    assert masks.boxes.shape == (0, 4) and masks.boxes.dtype == np.float32
    assert masks.areas.shape == masks.scores.shape == masks.stability.shape == (0,)
    assert masks.points.shape == (0, 2) and masks.rle == [] and masks.to_coco() == []
    assert not masks.label_map().any() and masks.label_map().dtype == np.uint16


def test_row_24_empty_and_full_masks():
    from pycocotools import mask as coco

    for full in (False, True):
        mask = np.full((5, 7), full, np.uint8)
        counts = kernels.coco_counts(mask)
        assert counts == ([0, 35] if full else [35])
        theirs = coco.encode(np.asfortranarray(mask))
        assert kernels.compress(counts) == theirs["counts"]
        assert (kernels.from_coco_counts(counts, (5, 7)) == mask).all()
    assert kernels.inclusive_box(np.zeros((5, 7), np.uint8)) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "name",
    [
        "pred_iou_thresh",
        "stability_score_thresh",
        "box_nms_thresh",
        "crop_nms_thresh",
        "min_area_frac",
        "mask_iou_thresh",
        "containment_thresh",
    ],
)
@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.1])
def test_row_26_thresholds(tiny, coins, name, value):
    with pytest.raises(ValueError, match=f"{name}: must be from 0 to 1"):
        tiny.everything(coins, points_per_side=2, **{name: value})


def test_added_filters(tiny, coins):
    plain = tiny.everything(
        coins,
        points_per_side=12,
        pred_iou_thresh=0.3,
        stability_score_thresh=0.3,
        containment_thresh=1.0,
        box_nms_thresh=1.0,
    )
    assert len(plain) > 20
    options = dict(
        points_per_side=12, pred_iou_thresh=0.3, stability_score_thresh=0.3, box_nms_thresh=1.0
    )
    pixels = plain.array.reshape(len(plain), -1).astype(np.float32)
    shared = pixels @ pixels.T
    areas = pixels.sum(1)
    order = np.argsort(-plain.scores, kind="stable")

    def keep(drops):
        kept = []
        for i in order:
            if not any(drops(shared[i, j], areas[i], areas[j]) for j in kept):
                kept.append(i)
        return sorted(kept)

    unique = tiny.everything(coins, containment_thresh=1.0, mask_iou_thresh=0.6, **options)
    assert (unique.areas == plain.areas[keep(lambda s, a, b: s > 0.6 * (a + b - s))]).all() and len(
        unique
    ) < len(plain)
    contained = tiny.everything(coins, containment_thresh=0.5, **options)
    assert (
        contained.areas == plain.areas[keep(lambda s, a, b: s > 0.5 * min(a, b))]
    ).all() and len(contained) < len(unique)
    large = tiny.everything(coins, containment_thresh=1.0, min_area_frac=0.01, **options)
    assert (large.areas == plain.areas[plain.areas >= 0.01 * 303 * 384]).all() and 0 < len(
        large
    ) < len(plain)
    best = tiny.everything(coins, containment_thresh=1.0, max_masks=5, **options)
    assert sorted(best.scores, reverse=True) == sorted(plain.scores, reverse=True)[:5]
    few = tiny.everything(
        coins,
        target_points=9,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        containment_thresh=1.0,
    )
    assert len(np.unique(few.prompt)) == 9


@pytest.mark.parametrize("size", [1e10, -1e300])
def test_nothing_is_farther_than_1e9_pixels(tiny, embedding, size):
    with pytest.raises(ValueError, match=r"points\[0\]\[0\].*more than 1e9 pixels away"):
        tiny.predict(embedding, points=[[size, 1]], anywhere=True)
    with pytest.raises(ValueError, match=r"boxes\[0\].*more than 1e9 pixels away"):
        tiny.predict(embedding, boxes=[[-abs(size), 0, 4, 4]], anywhere=True)


def test_numbers_that_leave_the_range_of_the_scores(tiny, embedding, coins):
    """A mask without a score has no logits, so it must not be looked at."""
    hint = np.full((1, *tiny.low_res_size), 1e30, np.float32)
    with pytest.raises(RuntimeError, match="not a finite number"):
        tiny.predict(embedding, mask_hints=hint)
    features = [np.asarray(embedding.features) * np.float32(1e19)]
    features += [np.asarray(level) for level in embedding.high_res_features]
    large = segrid.Embedding.of(tiny, coins.shape[:2], features)
    for call in (
        lambda: tiny.predict(large, points=[[5, 5]]),
        lambda: tiny.everything(large, points_per_side=2),
        lambda: tiny.everything(large, points_per_side=2, use_m2m=True),
    ):
        with pytest.raises(RuntimeError, match="not a finite number"):
            call()


def test_whole_numbers_of_more_than_64_bits(tiny, embedding):
    with pytest.raises(ValueError, match="points_per_side: expected a whole number of at most 64"):
        tiny.everything(embedding, points_per_side=2**70)
