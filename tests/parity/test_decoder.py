"""Prompts of every kind against segment_anything's SamPredictor and transformers on equal
weights."""

import numpy as np
import pytest
import torch

GATE = 1e-4  # relative to the largest logit

PROMPTS = {
    "point": (
        dict(point_coords=[[50, 60]], point_labels=[1]),
        dict(points=[[[50, 60]]], labels=[[1]]),
    ),
    "points": (
        dict(point_coords=[[50, 60], [80, 20], [10, 140]], point_labels=[1, 0, 1]),
        dict(points=[[[50, 60], [80, 20], [10, 140]]], labels=[[1, 0, 1]]),
    ),
    "box": (dict(box=[20, 30, 150, 120]), dict(boxes=[[20, 30, 150, 120]])),
    "point and box": (
        dict(point_coords=[[50, 60]], point_labels=[0], box=[20, 30, 150, 120]),
        dict(points=[[[50, 60]]], labels=[[0]], boxes=[[20, 30, 150, 120]]),
    ),
}


def check(masks, scores, low_res, ours):
    assert 0 < masks.mean() < 1 and low_res.std() > 1, "vacuous"
    assert np.abs(scores - ours.scores).max() < GATE
    assert np.abs(low_res - ours.low_res).max() <= GATE * np.abs(low_res).max()
    assert (masks & ours.array).sum() >= 0.9999 * (masks | ours.array).sum() - 2


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kind", PROMPTS)
def test_prompts(everywhere, kind, multimask, monkeypatch):
    theirs, ours = PROMPTS[kind]
    theirs = {"multimask_output": multimask, **{k: np.array(v, float) for k, v in theirs.items()}}
    predictor = everywhere.predictor()
    masks, _, low_res = predictor.predict(**theirs)
    # At 0 a random model's single mask may fill the image.
    threshold = 0.0 if 0 < masks.mean() < 1 else float(np.median(low_res))
    monkeypatch.setattr(predictor.model, "mask_threshold", threshold)
    check(
        *predictor.predict(**theirs),
        everywhere.ours.predict(
            everywhere.image, multimask=multimask, mask_threshold=threshold, **ours
        ),
    )


def test_mask_hint(everywhere):
    predictor = everywhere.predictor()
    click = dict(point_coords=np.array([[50.0, 60.0]]), point_labels=np.array([1]))
    hint = predictor.predict(multimask_output=False, **click)[2]
    expected = predictor.predict(multimask_output=True, mask_input=hint, **click)
    plain = predictor.predict(multimask_output=True, **click)
    assert np.abs(expected[2] - plain[2]).max() > 1e-2 * np.abs(plain[2]).max(), (
        "the hint changes nothing: vacuous"
    )
    check(
        *expected,
        everywhere.ours.predict(
            everywhere.image, points=[[[50, 60]]], mask_hints=hint, multimask=True
        ),
    )


def test_transformers_too(trio):
    from transformers import SamModel

    model = SamModel.from_pretrained(trio.folder).float().eval()
    embedding = trio.ours.encode(trio.image)
    side, (h, w) = model.config.vision_config.image_size, trio.image.shape[:2]
    scale = np.array([int(w * side / max(h, w) + 0.5) / w, int(h * side / max(h, w) + 0.5) / h])
    points = np.array([[[50.0, 60.0], [80.0, 20.0]]])
    out = model(
        image_embeddings=torch.tensor(np.array(embedding.features)),
        input_points=torch.tensor(points * scale)[None].float(),
        input_labels=torch.tensor([[[1, 0]]]),
        multimask_output=True,
    )
    ours = trio.ours.predict(embedding, points=points, labels=[[1, 0]], multimask=True)
    assert np.abs(out.iou_scores[0, 0].numpy() - ours.scores).max() < GATE
    assert (
        np.abs(out.pred_masks[0, 0].numpy() - ours.low_res).max()
        <= GATE * out.pred_masks.abs().max()
    )


def test_a_batch_equals_its_prompts_alone(small):
    embedding = small.ours.encode(small.image)
    points = np.random.default_rng(0).uniform(5, 140, (9, 1, 2))
    together = small.ours.predict(embedding, points=points, multimask=True)
    for i in range(9):
        alone = small.ours.predict(embedding, points=points[i : i + 1], multimask=True)
        assert np.array_equal(alone.low_res, together.low_res[3 * i : 3 * i + 3]), (
            "not the same bits"
        )


def test_plain_kernels_agree(trio):
    from segrid import _core

    fast = trio.ours.predict(trio.image, points=[[[50, 60]]], multimask=True)
    _core.force_kernels("plain")
    try:
        assert all(c["chosen"] == "plain" for c in _core.kernel_choices())
        plain = trio.ours.predict(trio.image, points=[[[50, 60]]], multimask=True)
    finally:
        _core.force_kernels("auto")
    assert np.abs(plain.low_res - fast.low_res).max() <= GATE * np.abs(fast.low_res).max()
