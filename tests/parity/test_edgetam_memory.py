"""EdgeTAM's memory of video against transformers' EdgeTamVideoModel: what is remembered, and
features in its light."""

import json

import numpy as np
import pytest
import segrid
import torch

from tests import models
from tests.building_blocks import kernels
from tests.reference.sam2_pair import close

MOST_POINTERS = 16


@pytest.fixture(scope="module", params=["small", "wide"])
def folder(request, tmp_path_factory):
    return models.edgetam.make_video(request.param, tmp_path_factory.mktemp("video"))


@pytest.fixture(scope="module")
def original(folder):
    return models.edgetam.original(folder, video=True)


@pytest.fixture
def memory(folder, device):
    return kernels.Memory(str(folder / "config.json"), str(folder / "model.safetensors"), device)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same(name, ours, theirs):
    theirs = theirs.detach().numpy()
    assert theirs.std() > 1e-2, "vacuous"
    close(name, ours, theirs)


def encoded(original, image, mask, from_prompt, appears):
    """What transformers remembers of a frame: the latents and their positions, (1, N, C) each."""
    return original._encode_new_memory(
        current_vision_feats=image[:, None],
        pred_masks_high_res=mask[None, None],
        object_score_logits=torch.tensor([[1.0 if appears else -1.0]]),
        is_mask_from_pts=from_prompt,
    )


def expected_features(original, image, frames, where, pointers):
    """What transformers computes from the parts of its own session. frames: (latents, age);
    where: the latents' positions; pointers: (pointer, frames between then and now)."""
    outputs = [
        (age, {"maskmem_features": latents[None], "maskmem_pos_enc": where})
        for latents, age in frames
    ]
    kept, places = original._build_memory_attention_inputs(outputs, torch.device("cpu"))
    tokens = 0
    if pointers:
        values, ages = original._process_object_pointers(
            [offset for _, offset in pointers],
            [pointer[None] for pointer, _ in pointers],
            MOST_POINTERS,
            1,
            original.hidden_dim,
            torch.device("cpu"),
        )
        kept.append(values)
        places.append(ages)
        tokens = values.shape[0]
    side = original.backbone_feature_sizes[-1][0]
    grid = original.vision_encoder.neck.position_encoding(
        torch.Size((1, original.hidden_dim, side, side)), torch.device("cpu"), torch.float32
    )
    return original.memory_attention(
        current_vision_features=image[:, None],
        current_vision_position_embeddings=grid.flatten(2).permute(2, 0, 1),
        memory=torch.cat(kept),
        memory_posision_embeddings=torch.cat(places),
        num_object_pointer_tokens=tokens,
        num_spatial_memory_tokens=len(frames),
    ).reshape(image.shape)


def places_of(original):
    side = original.backbone_feature_sizes[-1][0]
    nothing = torch.zeros(1, original.mem_dim, side, side)
    return original.spatial_perceiver(nothing, nothing)[1]


def test_every_part_of_the_perceiver_counts(original):
    """The random weights are such that no part of the memory could be left out unnoticed."""
    side = original.backbone_feature_sizes[-1][0]
    image, mask = random(side**2, original.hidden_dim), 5 * random(16 * side, 16 * side, seed=7)
    with torch.no_grad():
        latents = encoded(original, image, mask, True, True)[0][0]
        other = encoded(original, image, -mask, True, True)[0][0]
    change = (latents - other).abs().amax(1) / latents.abs().max()
    assert len(latents) == len(places_of(original)[0]) and change.min() > 1e-3


@pytest.mark.parametrize("from_prompt, appears", [(True, True), (False, True), (False, False)])
def test_what_is_remembered(memory, original, from_prompt, appears):
    side = original.backbone_feature_sizes[-1][0]
    image, mask = random(side**2, original.hidden_dim), 5 * random(16 * side, 16 * side, seed=7)
    with torch.no_grad():
        theirs, _ = encoded(original, image, mask, from_prompt, appears)
    same("latents", memory.encode(image, mask, from_prompt, appears), theirs[0])


@pytest.mark.parametrize("pointers", [0, 1, 5])
@pytest.mark.parametrize("ages", [[0], [0, 3, 1], [0, 0, 2]])
def test_features_in_the_light_of_memory(memory, original, ages, pointers):
    side = original.backbone_feature_sizes[-1][0]
    image, where = random(side**2, original.hidden_dim), places_of(original)
    frames = [
        (random(where.shape[1], original.mem_dim, seed=i + 1), age) for i, age in enumerate(ages)
    ]
    known = [(random(original.hidden_dim, seed=20 + i), i) for i in range(pointers)]
    ours = memory.attend(
        image,
        [(latents.numpy(), age) for latents, age in frames],
        [(pointer.numpy(), i / (MOST_POINTERS - 1)) for pointer, i in known],
    )
    with torch.no_grad():
        theirs = expected_features(original, image, frames, where, known)
    same("features", ours, theirs)
    assert memory.frames() == original.num_maskmem


def test_two_frames_one_after_the_other(memory, original):
    """Errors do not add up: a frame is remembered, the next is seen in its light and remembered,
    and a third is seen in the light of both."""
    side = original.backbone_feature_sizes[-1][0]
    images = [random(side**2, original.hidden_dim, seed=i) for i in range(3)]
    masks = [5 * random(16 * side, 16 * side, seed=10 + i) for i in range(2)]
    pointer = random(original.hidden_dim, seed=30)
    ours = [memory.encode(images[0], masks[0], True, True)]
    with torch.no_grad():
        latents, where = encoded(original, images[0], masks[0], True, True)
        second, _ = encoded(original, images[1], masks[1], False, True)
        for frame, theirs in enumerate([[(latents[0], 0)], [(latents[0], 0), (second[0], 1)]]):
            seen = memory.attend(
                images[frame + 1],
                [(kept, age) for kept, (_, age) in zip(ours, theirs, strict=True)],
                [(pointer.numpy(), 1 / (MOST_POINTERS - 1))],
            )
            expected = expected_features(original, images[frame + 1], theirs, where, [(pointer, 1)])
            same(f"features of frame {frame + 1}", seen, expected)
            ours.append(memory.encode(images[1], masks[1], False, True))


@pytest.mark.parametrize("appears", [True, False])
def test_pointers_and_hints(memory, original, appears):
    token = random(original.hidden_dim)
    side = original.backbone_feature_sizes[-1][0]
    mask = (random(16 * side, 16 * side) > 0).float()
    with torch.no_grad():
        pointer = original.object_pointer_proj(token) if appears else original.no_object_pointer[0]
        hint = original.mask_downsample(mask[None, None])[0, 0]
    same("pointer", memory.pointer(token, appears), pointer)
    same("hint", memory.hint_of(mask), hint)


def test_a_memory_that_does_not_fit_is_refused_by_name(tmp_path):
    folder = models.edgetam.make_video("small", tmp_path / "video")
    config = json.loads((folder / "config.json").read_text())
    for key, value, kind in (
        ("perceiver_resampler_num_latents_2d", 20, segrid.CorruptFileError),
        ("perceiver_resampler_num_latents_2d", 9, segrid.CorruptFileError),
        # transformers mixes several heads in another order than the original does.
        ("perceiver_resampler_num_attention_heads", 2, NotImplementedError),
        ("perceiver_resampler_hidden_size", 32, segrid.CorruptFileError),
        ("memory_attention_rope_k_sizes", [16, 16], segrid.CorruptFileError),
        ("perceiver_resampler_num_latents", 23, segrid.CorruptFileError),
    ):
        (folder / "config.json").write_text(json.dumps(config | {key: value}))
        name = "latents_1d" if value == 23 else key
        with pytest.raises(kind, match=name):
            segrid.Segmenter(folder)


def test_an_image_model_leaves_the_memory(folder, tmp_path):
    """As EdgeTamModel does, a config of images reads the image part of a video's weights."""
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "edgetam"}))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    files = [str(tmp_path / name) for name in ("config.json", "model.safetensors")]
    assert not kernels.Memory(*files, "cpu").present()
    image = np.full((40, 50, 3), 90, np.uint8)
    image[10:30, 10:30] = 200
    one, other = (segrid.Segmenter(f).encode(image).features for f in (folder, tmp_path))
    assert np.array_equal(one, other)
