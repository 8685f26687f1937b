"""segrid.compat.sam2's predictor: embeddings that are kept and put back, features and results that
are changed in place, prompts that are tensors."""

import numpy as np
import pytest
import torch
from segrid.compat.sam2.build_sam import build_sam2
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor

from tests.reference.sam2_calls import CLICKS, CONFIG, close


def test_embeddings_of_the_original(originals, sam2_checkpoint, image):
    """A fresh predictor takes the original's embeddings as tensors and as arrays; the original
    takes ours."""
    other = originals()
    model = build_sam2(CONFIG, sam2_checkpoint[1], device="cpu")
    wanted = other.predict(**CLICKS)
    arrays = {
        "image_embed": other._features["image_embed"].numpy(),
        "high_res_feats": [f.numpy() for f in other._features["high_res_feats"]],
    }
    for features in (other._features, arrays):
        mine = SAM2ImagePredictor(model)
        mine._orig_hw, mine._features = [image.shape[:2]], features
        with pytest.raises(RuntimeError, match="An image must be set"):
            mine.predict(**CLICKS)
        mine._is_image_set = True
        close(mine.predict(**CLICKS)[1:], wanted[1:])
        assert mine._features is features and mine.get_image_embedding() is features["image_embed"]
    mine.set_image(image)
    other._features = mine._features
    close(other.predict(**CLICKS)[1:], wanted[1:])


def test_embeddings_kept_and_put_back(small_sam2, image, other_image):
    predictor = SAM2ImagePredictor(build_sam2(CONFIG, small_sam2, device="cpu"))
    kept = []
    for photo in (image, other_image):
        predictor.set_image(photo)
        kept.append((predictor._features, predictor._orig_hw, predictor.predict(**CLICKS)))
    predictor.reset_predictor()
    assert (
        predictor._features is None and predictor._orig_hw is None and not predictor._is_image_set
    )
    for features, size, wanted in kept:
        predictor._features, predictor._orig_hw, predictor._is_image_set = features, size, True
        close(predictor.predict(**CLICKS), wanted, 1e-6)
    assert not np.array_equal(kept[0][2][1], kept[1][2][1])
    predictor._is_batch = True  # One file may hold the embeddings of two images.
    predictor._features = {
        "image_embed": torch.cat([f["image_embed"] for f, _, _ in kept]),
        "high_res_feats": [
            torch.cat(level)
            for level in zip(*(f["high_res_feats"] for f, _, _ in kept), strict=True)
        ],
    }
    predictor._orig_hw = [size[0] for _, size, _ in kept]
    batch = predictor.predict_batch(
        [CLICKS["point_coords"]] * 2, [CLICKS["point_labels"]] * 2, multimask_output=False
    )
    for i in range(2):
        close([part[i] for part in batch], kept[i][2], 1e-6)


def test_features_that_are_changed_in_place(small_sam2, image):
    predictor = SAM2ImagePredictor(build_sam2(CONFIG, small_sam2, device="cpu"))
    predictor.set_image(image)
    before = predictor.predict(**CLICKS)[2]
    predictor._features["image_embed"].mul_(0.5)
    halved = predictor.predict(**CLICKS)[2]
    predictor._features["image_embed"] = predictor._features["image_embed"] * 2
    assert (
        np.abs(halved - before).max() > 0.1
        and np.abs(predictor.predict(**CLICKS)[2] - before).max() < 1e-4
    )
    predictor._features = {"image_embed": torch.zeros(1, 8, 2, 2), "high_res_feats": []}
    with pytest.raises(ValueError, match="features"):
        predictor.predict(**CLICKS)


def test_results_may_be_written_into(small_sam2, image):
    predictor = SAM2ImagePredictor(build_sam2(CONFIG, small_sam2, device="cpu"))
    predictor.set_image(image)
    first = predictor.predict(**CLICKS)
    for array in first:
        array[:] = 7
    assert all((array != 7).any() for array in predictor.predict(**CLICKS))


def test_tensors_as_prompts_of_the_inner_calls(small_sam2, image):
    """Programs call _prep_prompts and _predict to get tensors. One mask hint serves all prompts."""
    predictor = SAM2ImagePredictor(build_sam2(CONFIG, small_sam2, device="cpu"))
    predictor.set_image(image)
    hint = predictor.predict(**CLICKS)[2][0]
    mask, points, labels, boxes = predictor._prep_prompts(
        CLICKS["point_coords"], CLICKS["point_labels"], None, hint, True
    )
    masks, scores, low = predictor._predict(points, labels, boxes, mask, multimask_output=False)
    assert (
        masks.dtype == torch.bool
        and points.shape == (4, 1, 2)
        and boxes is None
        and low.shape[:2] == scores.shape == (4, 1)
    )
    close(
        [masks.float().numpy(), scores.numpy(), low.numpy()],
        predictor.predict(**CLICKS, mask_input=hint),
        1e-6,
    )
    each = [
        predictor.predict(
            CLICKS["point_coords"][i],
            CLICKS["point_labels"][i],
            mask_input=hint,
            multimask_output=False,
        )
        for i in range(4)
    ]
    close([low.numpy()], [np.stack([e[2] for e in each])], 1e-5)


def put_back(model, features, sizes):
    predictor = SAM2ImagePredictor(model)
    predictor._features, predictor._orig_hw, predictor._is_image_set = features, sizes, True
    return predictor


def test_in_inference_mode(small_sam2, image):
    """Tensors of inference mode have no version counter; a write into the features must count
    nevertheless."""
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    mine = SAM2ImagePredictor(model)
    mine.set_image(image)
    wanted = mine.predict(**CLICKS)
    with torch.inference_mode():
        mine.set_image(image)
        close(mine.predict(**CLICKS), wanted, 1e-6)
        kept = mine.get_image_embedding()
        close(mine.predict(**CLICKS), wanted, 1e-6)
        other = put_back(model, mine._features, mine._orig_hw)
        close(other.predict(**CLICKS), wanted, 1e-6)
        kept[:] = 0
        for predictor in (mine, other):
            assert np.abs(predictor.predict(**CLICKS)[2] - wanted[2]).max() > 0.1


def test_features_that_are_exchanged(small_sam2, image):
    """A new tensor may have the address of the one that it replaces, and arrays have no version
    counter; the new values must count."""
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    mine = SAM2ImagePredictor(model)
    mine.set_image(image)
    features, shape = mine._features, mine._features["image_embed"].shape
    for value in range(6):
        features["image_embed"] = torch.zeros(shape) + value
        features["image_embed"] = torch.full(shape, -2.0 - value)
        fresh = put_back(model, dict(features), mine._orig_hw)
        close(mine.predict(**CLICKS), fresh.predict(**CLICKS), 1e-6)
    arrays = {
        "image_embed": features["image_embed"].numpy().copy(),
        "high_res_feats": [level.numpy() for level in features["high_res_feats"]],
    }
    mine = put_back(model, arrays, mine._orig_hw)
    before = mine.predict(**CLICKS)
    arrays["image_embed"] *= 0.1
    assert np.abs(mine.predict(**CLICKS)[2] - before[2]).max() > 0.01


def test_features_in_bfloat16(small_sam2, image):
    model = build_sam2(CONFIG, small_sam2, device="cpu")
    mine = SAM2ImagePredictor(model)
    mine.set_image(image)
    rounded = {
        "image_embed": mine._features["image_embed"].bfloat16(),
        "high_res_feats": [level.bfloat16() for level in mine._features["high_res_feats"]],
    }
    as_float = {
        "image_embed": rounded["image_embed"].float(),
        "high_res_feats": [level.float() for level in rounded["high_res_feats"]],
    }
    results = [
        put_back(model, features, mine._orig_hw).predict(**CLICKS)
        for features in (rounded, as_float)
    ]
    close(*results, 1e-6)


@pytest.mark.parametrize("multimask", [True, False])
def test_without_prompts(originals, sam2_checkpoint, image, multimask):
    other = originals()
    model = build_sam2(CONFIG, sam2_checkpoint[1], device="cpu")
    mine = put_back(model, other._features, [image.shape[:2]])
    wanted = other.predict(multimask_output=multimask)
    found = mine.predict(multimask_output=multimask)
    assert [a.shape for a in found] == [a.shape for a in wanted]
    close(found[1:], wanted[1:])
