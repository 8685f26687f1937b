"""MobileSAM: TinyViT against the plain reference, stage by stage; its decoder against SAM's, which
is the same; and the published sizes through the converter."""

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from tests import models
from tests.building_blocks import kernels


def smooth_image(size):
    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.BICUBIC))


def padded(image, side):
    """segment-anything's preprocessing: (1, 3, side, side)."""
    scale = side / max(image.shape[:2])
    size = tuple(int(s * scale + 0.5) for s in image.shape[1::-1])
    pixels = (
        torch.tensor(np.asarray(Image.fromarray(image).resize(size, Image.BILINEAR)))
        .permute(2, 0, 1)
        .float()
    )
    pixels = (pixels - torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)) / torch.tensor(
        [58.395, 57.12, 57.375]
    ).view(3, 1, 1)
    return torch.nn.functional.pad(pixels, (0, side - size[0], 0, side - size[1]))[None]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return models.mobile_sam.make("small", tmp_path_factory.mktemp("mobile"))


@pytest.mark.parametrize("size", [(233, 150), (90, 200)])
def test_every_stage(small, size, device):

    image = smooth_image(size)
    taps = kernels.encoder_taps(
        str(small / "config.json"), str(small / "model.safetensors"), image, device=device
    )
    theirs = models.mobile_sam.encoder("small")(padded(image, 144))
    assert set(taps) == set(theirs)
    for name, value in theirs.items():
        value = value[0].flatten(1).T.numpy()
        assert value.std() > 0.1, "vacuous"
        worst = np.abs(taps[name] - value).max()
        assert worst <= 1e-4 * np.abs(value).max(), (
            f"{name}: off by {worst:.3g}, largest {np.abs(value).max():.3g}"
        )


def test_plain_kernels_and_bf16(small):
    from segrid import _core

    image = smooth_image((233, 150))
    fast = segrid.Segmenter(small).encode(image).features
    _core.force_kernels("plain")
    try:
        plain = segrid.Segmenter(small).encode(image).features
    finally:
        _core.force_kernels("auto")
    assert np.abs(plain - fast).max() < 1e-4 * np.abs(fast).max()
    if any(_core.cpu_features()[k] for k in ("avx512_bf16", "amx")):
        half = segrid.Segmenter(small, precision="bf16").encode(image).features
        assert 1e-4 < np.abs(half - fast).max() / np.abs(fast).max() < 0.1
    for device in ("cpu", "cpu-plain"):  # MobileSAM never runs in fp16.
        with pytest.raises(NotImplementedError, match="fp16"):
            segrid.Segmenter(small, precision="fp16", device=device)


def test_prompts_and_everything(small, device):
    """The decoder is SAM's: segment_anything's own decoder gives the same masks for the reference's
    features."""
    import tempfile

    image = smooth_image((233, 150))
    ours = segrid.Segmenter(small)
    with tempfile.TemporaryDirectory() as scratch:
        sam = models.sam.to_segment_anything(models.sam.make("small", scratch))
    features = models.mobile_sam.encoder("small")(padded(image, 144))["neck"]
    # segment_anything's prompt encoder is built for this size.
    sam.prompt_encoder.image_embedding_size = (9, 9)
    sam.prompt_encoder.input_image_size = (144, 144)
    # 93 rows of the square hold the image.
    point = torch.tensor([[[50 * 144 / 233, 60 * 93 / 150]]])
    sparse, dense = sam.prompt_encoder(points=(point, torch.ones(1, 1)), boxes=None, masks=None)
    logits, iou = sam.mask_decoder(
        image_embeddings=features,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    found = ours.predict(image, points=[[[50, 60]]], multimask=True)
    assert np.abs(found.low_res - logits[0].numpy()).max() < 3e-4 * float(logits.abs().max())
    assert np.abs(found.scores - iou[0].numpy()).max() < 1e-3
    masks = ours.everything(
        image,
        points_per_side=6,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    assert len(masks) == 108 and ours._engine.family == "mobile_sam"


def test_the_published_checkpoint_converts(tmp_path):
    from segrid.convert import convert

    weights = models.mobile_sam.checkpoint("mobile_sam", tmp_path)
    weights |= {
        "image_encoder.head.weight": torch.zeros(1000, 320),
        "image_encoder.norm_head.bias": torch.zeros(320),
    }
    torch.save(weights, tmp_path / "mobile_sam.pt")
    report = convert(tmp_path / "mobile_sam.pt", tmp_path / "out")
    assert report["family"] == "mobile_sam" and report["dropped"] == [
        "image_encoder.head.weight",
        "image_encoder.norm_head.bias",
    ]
    image = smooth_image((300, 200))
    ours = segrid.Segmenter(tmp_path / "out").encode(image).features
    theirs = models.mobile_sam.encoder("mobile_sam")(padded(image, 1024))["neck"].numpy()
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
