"""SAM 2's memory of video against transformers: what is remembered, and features in its light."""

import json

import numpy as np
import pytest
import segrid
import torch

from tests import models
from tests.building_blocks import kernels

PRESETS = {
    "sam2.1": ("small", {}),
    "sam2": (
        "small",
        dict(
            enable_occlusion_spatial_embedding=False,
            enable_temporal_pos_encoding_for_object_pointers=False,
        ),
    ),
    "wide": ("wide", dict(memory_attention_num_attention_heads=2, num_maskmem=4)),
}


@pytest.fixture(scope="module", params=PRESETS)
def folder(request, tmp_path_factory):
    preset, settings = PRESETS[request.param]
    return models.sam2.make_video(preset, tmp_path_factory.mktemp("video"), **settings)


@pytest.fixture(scope="module")
def original(folder):
    from transformers import Sam2VideoModel

    return Sam2VideoModel.from_pretrained(folder).eval()


@pytest.fixture
def memory(folder, device):
    return kernels.Memory(str(folder / "config.json"), str(folder / "model.safetensors"), device)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bf16(x):
    return x.to(torch.bfloat16).float()


def same(ours, theirs):
    theirs = theirs.detach().numpy()
    assert theirs.std() > 1e-3, "vacuous"
    assert np.abs(ours - theirs).max() < 2e-4 * np.abs(theirs).max()


def expected_features(original, image, frames, pointers, most):
    """What transformers computes from the parts of its own session."""
    channels = original.mem_dim
    side = original.backbone_feature_sizes[-1][0]
    where = original.memory_encoder.position_encoding(
        torch.Size((1, channels, side, side)), torch.device("cpu"), torch.float32
    )
    where = where.flatten(2).permute(2, 0, 1)
    outputs = [
        (age, {"maskmem_features": features[:, None], "maskmem_pos_enc": where})
        for features, age in frames
    ]
    kept, places = original._build_memory_attention_inputs(outputs, torch.device("cpu"))
    tokens = 0
    if pointers:
        values, ages = original._process_object_pointers(
            [round(age * (most - 1)) for _, age in pointers],
            [pointer[None] for pointer, _ in pointers],
            most,
            1,
            original.hidden_dim,
            torch.device("cpu"),
        )
        kept.append(values)
        places.append(ages)
        tokens = values.shape[0]
    grid = original.vision_encoder.neck.position_encoding(
        torch.Size((1, original.hidden_dim, side, side)), torch.device("cpu"), torch.float32
    )
    return original.memory_attention(
        current_vision_features=image[:, None],
        current_vision_position_embeddings=grid.flatten(2).permute(2, 0, 1),
        memory=torch.cat(kept),
        memory_posision_embeddings=torch.cat(places),
        num_object_pointer_tokens=tokens,
    ).reshape(image.shape)


@pytest.mark.parametrize("pointers", [0, 1, 5])
@pytest.mark.parametrize("ages", [[0], [0, 3, 1], [0, 0, 2]])
def test_features_in_the_light_of_memory(memory, original, ages, pointers):
    side = original.backbone_feature_sizes[-1][0]
    image = random(side**2, original.hidden_dim)
    frames = [
        (bf16(random(side**2, original.mem_dim, seed=i + 1)), age) for i, age in enumerate(ages)
    ]
    most = 16
    known = [(random(original.hidden_dim, seed=20 + i), i / (most - 1)) for i in range(pointers)]
    ours = memory.attend(
        image, [(f.numpy(), a) for f, a in frames], [(p.numpy(), a) for p, a in known]
    )
    with torch.no_grad():
        theirs = expected_features(original, image, frames, known, most)
    same(ours, theirs)
    assert memory.frames() == original.num_maskmem


@pytest.mark.parametrize("from_prompt, appears", [(True, True), (False, True), (False, False)])
def test_what_is_remembered(memory, original, from_prompt, appears):
    side = original.backbone_feature_sizes[-1][0]
    image, mask = random(side**2, original.hidden_dim), 5 * random(16 * side, 16 * side, seed=7)
    ours = memory.encode(image, mask, from_prompt, appears)
    with torch.no_grad():
        theirs, _ = original._encode_new_memory(
            current_vision_feats=image[:, None],
            pred_masks_high_res=mask[None, None],
            object_score_logits=torch.tensor([[1.0 if appears else -1.0]]),
            is_mask_from_pts=from_prompt,
        )
    theirs = theirs[:, 0].float()
    assert theirs.std() > 1e-3, "vacuous"
    # Both are rounded to bf16: at most one step apart.
    assert np.abs(ours - theirs.numpy()).max() <= 2**-7 * theirs.abs().max().item()
    assert (ours == theirs.numpy()).mean() > 0.9


@pytest.mark.parametrize("appears", [True, False])
def test_pointers(memory, original, appears):
    token = random(original.hidden_dim)
    with torch.no_grad():
        theirs = original.object_pointer_proj(token) if appears else original.no_object_pointer[0]
    assert np.abs(memory.pointer(token, appears) - theirs.numpy()).max() < 1e-5 * (
        1 + theirs.abs().max().item()
    )


@pytest.mark.parametrize("multimask", [False, True])
def test_pointers_of_clicks(memory, original, multimask):
    """The decoder's output token of the mask becomes the pointer of the object."""
    sizes, dim = original.backbone_feature_sizes, original.hidden_dim
    levels = [
        random(h * w, channels, seed=i)
        for i, ((h, w), channels) in enumerate(
            zip(sizes[::-1], (dim, dim // 4, dim // 8), strict=True)
        )
    ]
    side = original.image_size
    maps = [f.T.reshape(1, -1, *size) for f, size in zip(levels, sizes[::-1], strict=True)]
    with torch.no_grad():
        theirs = original._single_frame_forward(
            image_embeddings=maps[::-1],
            input_points=torch.tensor([[[[0.4 * side, 0.6 * side]]]]),
            input_labels=torch.ones(1, 1, 1, dtype=torch.int32),
            multimask_output=multimask,
        )
    tokens, scores = memory.tokens(levels, 0.4 * side, 0.6 * side, multimask)
    assert len(scores) == (3 if multimask else 1)
    appears = theirs.object_score_logits.item() > 0
    ours = memory.pointer(tokens[int(np.argmax(scores)) if multimask else 0], True)
    expected = (
        theirs.object_pointer[0, 0]
        if appears
        else original.object_pointer_proj(torch.from_numpy(tokens[0]))
    )
    assert appears, "vacuous: the object must appear"
    same(ours, expected)


def test_a_memory_that_does_not_fit_is_refused_by_name(tmp_path):
    folder = models.sam2.make_video("small", tmp_path / "video")
    config = json.loads((folder / "config.json").read_text())
    for key, value, kind in (
        ("mask_downsampler_total_stride", 24, NotImplementedError),
        ("memory_fuser_kernel_size", 6, NotImplementedError),
        ("memory_encoder_output_channels", 48, segrid.CorruptFileError),
        ("num_maskmem", 5, segrid.CorruptFileError),
    ):
        (folder / "config.json").write_text(json.dumps(config | {key: value}))
        name = "memory_temporal" if key == "num_maskmem" else key.removesuffix("_size")
        with pytest.raises(kind, match=name.replace("_kernel", "")):
            segrid.Segmenter(folder)


def test_a_mask_becomes_a_hint(memory, original):
    side = original.backbone_feature_sizes[-1][0]
    mask = (random(16 * side, 16 * side) > 0).float()
    with torch.no_grad():
        theirs = original.mask_downsample(mask[None, None])[0, 0]
    same(memory.hint_of(mask), theirs)


def test_an_image_model_has_no_memory(tmp_path):
    folder = models.sam2.make("small", tmp_path)
    found = kernels.Memory(str(folder / "config.json"), str(folder / "model.safetensors"), "cpu")
    assert not found.present()
