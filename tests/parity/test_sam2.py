"""SAM 2.1 against transformers' Sam2Model on equal random weights: the encoder tap by tap, prompts
of every kind, and unstable single masks that are replaced. The gate is 1e-4 of the largest value
(tests/README.md)."""

import json

import numpy as np
import pytest
import segrid
import torch
from segrid import _core

from tests import models
from tests.building_blocks import kernels
from tests.reference.sam2_pair import PROMPTS, Pair, close, smooth_image


@pytest.fixture(
    scope="module", params=[("small", (233, 150)), ("wide", (300, 411))], ids=["small", "wide"]
)
def pair(request, tmp_path_factory, device):
    from transformers import Sam2Model

    preset, size = request.param
    folder = models.sam2.make(preset, tmp_path_factory.mktemp(preset))
    return Pair(folder, Sam2Model.from_pretrained(folder).eval(), smooth_image(size), device)


def test_every_layer(pair):

    taps = kernels.encoder_taps(
        str(pair.folder / "config.json"),
        str(pair.folder / "model.safetensors"),
        pair.image,
        device=pair.device,
    )
    seen = {}
    backbone = pair.theirs.vision_encoder.backbone
    backbone.blocks[0].register_forward_pre_hook(lambda m, a: seen.__setitem__("patch_embed", a[0]))
    for i, block in enumerate(backbone.blocks):
        block.register_forward_hook(lambda m, a, o, i=i: seen.__setitem__(f"block_{i}", o))
    pair.check_features(taps)
    assert {*seen, "features_0", "features_1", "features_2"} == set(taps)
    for name, value in seen.items():
        theirs = value.reshape(-1, value.shape[-1]).detach().numpy()
        assert theirs.std() > 0.1, "vacuous"
        close(name, taps[name], theirs)


def test_embedding(pair, tmp_path):
    embedding = pair.ours.encode(pair.image)
    with torch.no_grad():
        theirs = pair.theirs.get_image_embeddings(pair.pixels)
    ours = (*embedding.high_res_features[::-1], embedding.features)
    for a, b in zip(ours, theirs, strict=True):
        close("features", a, b.numpy())
    embedding.save(tmp_path / "e.npz")
    assert segrid.Embedding.load(tmp_path / "e.npz", pair.ours) == embedding
    point = dict(points=[[[50, 60]]], multimask=True)
    assert np.array_equal(
        pair.ours.predict(embedding, **point).low_res,
        pair.ours.predict(pair.image, **point).low_res,
    )


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("multimask", [True, False])
def test_prompts(pair, prompt, multimask):
    pair.check_prompt(PROMPTS[prompt], multimask)


def test_a_mask_hint_moves_the_mask_as_theirs(pair):
    first = pair.ours.predict(pair.image, points=[[[50, 60]]])
    hint = np.ascontiguousarray(first.low_res[0][:, ::-1])
    ours = pair.ours.predict(pair.image, points=[[[50, 60]]], mask_hints=hint, multimask=True)
    theirs = pair.predict(PROMPTS["point"], True, hint)
    close("logits", ours.low_res, theirs.pred_masks[0, 0].numpy())
    assert (
        np.abs(
            ours.low_res
            - pair.ours.predict(pair.image, points=[[[50, 60]]], multimask=True).low_res
        ).max()
        > 0.1
    )


def test_unstable_single_masks_give_way(pair, cut, monkeypatch, tmp_path):
    """For a grid of clicks some single masks are those of token 0, and some are the best of the
    other three, as in transformers."""
    xs, ys = np.meshgrid(
        np.linspace(5, pair.image.shape[1] - 5, 6), np.linspace(5, pair.image.shape[0] - 5, 6)
    )
    points = np.stack([xs.ravel(), ys.ravel()], 1)[:, None]
    prompt = dict(points=points, labels=np.ones(points.shape[:2], int))
    decoder = pair.theirs.mask_decoder
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "dynamic_multimask_via_stability", False)
        plain = pair.predict(prompt, False)
    # A third to two thirds of these random masks are stable.
    threshold = cut(decoder._get_stability_scores(plain.pred_masks[0, :, 0]), 12)
    config = json.loads((pair.folder / "config.json").read_text())
    config["mask_decoder_config"]["dynamic_multimask_stability_thresh"] = threshold
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(pair.folder / "model.safetensors")
    monkeypatch.setattr(decoder, "dynamic_multimask_stability_thresh", threshold)
    theirs = pair.predict(prompt, False)
    gave_way = (theirs.iou_scores != plain.iou_scores).flatten().numpy()
    assert 0 < gave_way.mean() < 1, "vacuous"
    ours = segrid.Segmenter(tmp_path, device=pair.device).predict(pair.image, **prompt)
    close("logits", ours.low_res, theirs.pred_masks[0, :, 0].numpy())
    close("iou", ours.scores, theirs.iou_scores[0, :, 0].numpy())


def test_plain_kernels_agree(pair):
    from segrid import _core

    prompt = dict(points=[[[50, 60]]], multimask=True)
    fast = pair.ours.predict(pair.image, **prompt)
    _core.force_kernels("plain")
    try:
        plain = pair.ours.predict(pair.image, **prompt)
    finally:
        _core.force_kernels("auto")
    close("logits", plain.low_res, fast.low_res)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("preset", ["small", "wide"])
def test_same_features_for_any_thread_count(preset, precision, tmp_path, four_threads):
    """With AMX the number of rows in a task depends on the threads."""
    if precision == "bf16" and not any(_core.cpu_features()[k] for k in ("avx512_bf16", "amx")):
        pytest.skip("this CPU has no bf16")
    folder = models.sam2.make(preset, tmp_path)
    engine, image = segrid.Segmenter(folder, precision=precision), smooth_image((300, 411))
    many = engine.encode(image).features
    for threads in (1, 2):
        segrid.set_threads(threads)
        assert np.array_equal(engine.encode(image).features, many)
