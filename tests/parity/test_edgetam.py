"""EdgeTAM's image part against transformers' EdgeTamModel with timm's RepViT on equal random
weights: the encoder stage by stage, prompts of every kind, everything mode."""

import json

import numpy as np
import pytest
import segrid
import torch

from tests import models
from tests.building_blocks import kernels
from tests.reference.sam2_pair import PROMPTS, Pair, close, smooth_image


@pytest.fixture(
    scope="module", params=[("small", (233, 150)), ("wide", (300, 411))], ids=["small", "wide"]
)
def pair(request, tmp_path_factory, device):
    preset, size = request.param
    folder = models.edgetam.make(preset, tmp_path_factory.mktemp(preset))
    return Pair(folder, models.edgetam.original(folder), smooth_image(size), device)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return models.edgetam.make("small", tmp_path_factory.mktemp("small"))


def taps_of(folder, image, device="cpu"):
    return kernels.encoder_taps(
        str(folder / "config.json"), str(folder / "model.safetensors"), image, device=device
    )


def stages_of(original):
    """The places of the encoder that our taps name, and timm's modules there."""
    model = original.vision_encoder.backbone.timm_model
    return {"stem": model["stem"]} | {f"stage_{i}": model[f"stages_{i}"] for i in range(4)}


def test_every_stage(pair):
    taps, seen = taps_of(pair.folder, pair.image, pair.device), {}
    for name, module in stages_of(pair.theirs).items():
        module.register_forward_hook(lambda m, a, o, name=name: seen.__setitem__(name, o))
    pair.check_features(taps)
    assert {*seen, "features_0", "features_1", "features_2"} == set(taps)
    for name, value in seen.items():
        theirs = value[0].flatten(1).T.detach().numpy()
        assert theirs.std() > 0.1, "vacuous"
        close(name, taps[name], theirs)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("multimask", [True, False])
def test_prompts(pair, prompt, multimask):
    pair.check_prompt(PROMPTS[prompt], multimask)


def test_a_mask_hint_moves_the_mask_as_theirs(pair):
    hint = np.ascontiguousarray(
        pair.ours.predict(pair.image, points=[[[50, 60]]]).low_res[0][:, ::-1]
    )
    ours = pair.ours.predict(pair.image, points=[[[50, 60]]], mask_hints=hint, multimask=True)
    theirs = pair.predict(PROMPTS["point"], True, hint)
    close("logits", ours.low_res, theirs.pred_masks[0, 0].numpy())


def test_everything_mode(pair):
    """Every point of the grid gives the masks that transformers gives for it."""
    masks = pair.ours.everything(
        pair.image,
        points_per_side=3,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    assert pair.ours._engine.family == "edgetam"
    theirs = pair.predict(
        dict(points=masks.points[:, None].tolist(), labels=np.ones((len(masks), 1), int)), True
    )
    scores = theirs.iou_scores[0].numpy()
    assert len(masks) > 9 and scores.std() > 0.01, "vacuous"
    nearest = np.abs(scores - masks.scores[:, None]).min(1)
    assert nearest.max() < 1e-4


def test_the_published_sizes(tmp_path):
    """A checkpoint of the published sizes (RepViT-M1 at 1024 x 1024), converted by us."""
    folder = models.edgetam.make_video("edgetam", tmp_path / "theirs")
    original = models.edgetam.original(folder, video=True)
    image = smooth_image((300, 200))
    torch.save({"model": models.edgetam.checkpoint(original)}, tmp_path / "edgetam.pt")
    report = segrid.convert.convert(tmp_path / "edgetam.pt", tmp_path / "ours")
    assert (report["family"], report["video"], report["dropped"]) == ("edgetam", True, [])
    assert models.edgetam.original(tmp_path / "ours", video=True).num_maskmem == 7
    ours = segrid.Segmenter(tmp_path / "ours")
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (1024, 1024), mode="bilinear", antialias=True)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        theirs = original.get_image_embeddings((pixels - mean) / std)[-1].numpy()
    close("features", ours.encode(image).features, theirs)


@pytest.mark.parametrize("preset", ["small", "wide"])
def test_the_original_checkpoint_converts(tmp_path, preset):
    """Every tensor is where transformers has it, and config.json gives the same sizes."""
    from segrid.convert import edgetam, family_of

    folder = models.edgetam.make_video(preset, tmp_path)
    original = models.edgetam.original(folder, video=True)
    weights = models.edgetam.checkpoint(original)
    assert family_of(weights, "edgetam.pt") is edgetam
    config, tensors, dropped = edgetam.convert(weights, models.edgetam.PRESETS[preset]["image"])
    expected = original.state_dict()
    assert dropped == [] and set(tensors) == set(expected)
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    theirs = json.loads((folder / "config.json").read_text())
    # Heads are not in the tensors; the published model has one.
    for name, value in config.items():
        if not isinstance(value, dict) and name != "memory_attention_num_attention_heads":
            assert theirs[name] == value, name
    backbone, other = (c["vision_config"]["backbone_config"] for c in (config, theirs))
    assert {name: backbone[name] for name in ("architecture", "model_args")} == {
        name: other[name] for name in ("architecture", "model_args")
    }


def test_plain_kernels_agree(small):
    from segrid import _core

    image = smooth_image((233, 150))
    fast = segrid.Segmenter(small, precision="fp32").encode(image).features
    _core.force_kernels("plain")
    try:
        plain = segrid.Segmenter(small, precision="fp32").encode(image).features
    finally:
        _core.force_kernels("auto")
    close("features", plain, fast)


def test_low_precisions(small):
    """The price of bf16 is that of torch's autocast; int8's is a few times as high. The random
    layers amplify rounding, so that the price itself tells nothing."""
    from segrid import _core

    def off(low, exact):
        return np.sqrt(np.square(low - exact).mean() / np.square(exact).mean())

    pair = Pair(small, models.edgetam.original(small), smooth_image((233, 150)), "cpu")
    with torch.no_grad():
        theirs = pair.theirs.get_image_embeddings(pair.pixels)[-1].numpy()
        with torch.autocast("cpu", torch.bfloat16):
            low = pair.theirs.get_image_embeddings(pair.pixels)[-1].float().numpy()
    autocast = off(low, theirs)

    def price(precision):
        return off(segrid.Segmenter(small, precision=precision).encode(pair.image).features, theirs)

    assert 0.5 * autocast < price("int8") < 6 * autocast
    if any(_core.cpu_features()[k] for k in ("avx512_bf16", "amx")):
        assert 0.1 * autocast < price("bf16") < 1.2 * autocast


def test_the_same_bits_for_any_number_of_threads(small, four_threads):
    model, image = segrid.Segmenter(small), smooth_image((233, 150))
    one = model.with_threads(1).encode(image).features
    assert np.array_equal(one, model.with_threads(4).encode(image).features)


@pytest.mark.parametrize(
    ("keys", "value", "kind", "message"),
    [
        (("backbone_config", "architecture"), "resnet50", NotImplementedError, "architecture"),
        (("backbone_config", "model_args", "kernel_size"), 5, NotImplementedError, "kernel_size"),
        (("backbone_config", "model_args", "embed_dim"), [16, 24, 32], NotImplementedError, "four"),
        (("backbone_config", "model_args", "depth"), [1, 2, 4, 0], segrid.CorruptFileError, "miss"),
        (("backbone_channel_list",), [48, 32, 24, 8], segrid.CorruptFileError, "channel_list"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(small, tmp_path, keys, value, kind, message):
    config = json.loads((small / "config.json").read_text())
    place = config["vision_config"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(small / "model.safetensors")
    with pytest.raises(kind, match=message):
        segrid.Segmenter(tmp_path)
