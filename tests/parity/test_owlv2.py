"""OWLv2 and OWL-ViT against transformers, tap by tap. The gate is 1e-4 of the largest value
(tests/README.md)."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests import models
from tests.building_blocks import kernels

TEXTS = [
    "a red circle",
    "the small blue star",
    "nuclei",
    "a photo of the big green triangle in the picture",
]


@pytest.fixture(scope="module", params=["small", "tester", "owlvit"])
def folder(request, tmp_path_factory):
    return models.owlv2.make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(3).integers(0, 255, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((233, 150), Image.BICUBIC))


@pytest.fixture(scope="module")
def theirs(folder, image):
    """The taps of transformers' model, and the pixels of its processor."""
    import transformers
    from transformers import AutoConfig, CLIPTokenizer

    kind = {"owlv2": "Owlv2", "owlvit": "OwlViT"}[AutoConfig.from_pretrained(folder).model_type]
    model = getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(folder).eval()
    pixels = (
        getattr(transformers, f"{kind}ImageProcessorPil")
        .from_pretrained(folder)(image, return_tensors="pt")
        .pixel_values
    )
    words = CLIPTokenizer.from_pretrained(folder)(
        TEXTS, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    seen = {}
    tower = getattr(model, kind.lower()).vision_model
    tower.pre_layernorm.register_forward_hook(lambda m, a, o: seen.__setitem__("embeddings", o[0]))
    for i, layer in enumerate(tower.encoder.layers):
        layer.register_forward_hook(
            lambda m, a, o, i=i: seen.__setitem__(
                f"layer_{i}", (o[0] if isinstance(o, tuple) else o)[0]
            )
        )
    model.layer_norm.register_forward_hook(lambda m, a, o: seen.__setitem__("merged", o[0]))
    out = model(pixel_values=pixels, **words)
    boxes = out.pred_boxes[0]
    seen |= {
        "pixels": pixels[0].permute(1, 2, 0),
        "texts": out.text_embeds[0],
        "logits": out.logits[0],
        "boxes": torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1),
    }
    if "objectness_logits" in out:
        seen["objectness"] = out.objectness_logits[0]
    # transformers normalises class_embeds only where queries are given.
    seen["classes"] = model.class_head.dense0(seen["merged"])
    return model, {name: value.detach().numpy() for name, value in seen.items()}


def test_every_layer(folder, image, theirs, device):
    from segrid._text import Tokenizer

    taps = kernels.detector_taps(
        str(folder / "config.json"),
        str(folder / "model.safetensors"),
        image,
        Tokenizer(folder, 16)(TEXTS),
        device=device,
    )
    assert set(taps) == set(theirs[1])
    for name, value in theirs[1].items():
        assert value.std() > 0.02, f"{name}: vacuous"
        worst = np.abs(taps[name] - value.reshape(taps[name].shape)).max()
        assert worst <= 1e-4 * np.abs(value).max(), (
            f"{name}: off by {worst:.3g}, largest {np.abs(value).max():.3g}"
        )
