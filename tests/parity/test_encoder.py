"""The encoder against transformers, layer by layer. The gate is 1e-4 of the largest value of each
tap (tests/README.md)."""

import numpy as np
import torch

from tests.building_blocks import kernels


def close(name, ours, theirs, gate=1e-4):
    worst = np.abs(ours - theirs).max()
    assert worst <= gate * np.abs(theirs).max(), (
        f"{name}: off by {worst:.3g}, largest {np.abs(theirs).max():.3g}"
    )


def test_every_layer(everywhere):
    from segment_anything.utils.transforms import ResizeLongestSide
    from transformers import SamModel

    model = SamModel.from_pretrained(everywhere.folder).float().eval()
    taps = kernels.encoder_taps(
        str(everywhere.folder / "config.json"),
        str(everywhere.folder / "model.safetensors"),
        everywhere.image,
        device=everywhere.device,
    )
    side = model.config.vision_config.image_size
    resized = torch.as_tensor(ResizeLongestSide(side).apply_image(everywhere.image).copy()).permute(
        2, 0, 1
    )[None]
    seen = {}
    encoder = model.vision_encoder
    encoder.patch_embed.register_forward_hook(
        lambda m, i, o: seen.__setitem__("patch_embed", o + encoder.pos_embed)
    )
    for i, layer in enumerate(encoder.layers):
        layer.register_forward_hook(
            lambda m, a, o, i=i: seen.__setitem__(f"block_{i}", o[0] if isinstance(o, tuple) else o)
        )
    encoder.neck.register_forward_hook(
        lambda m, i, o: seen.__setitem__("neck", o.permute(0, 2, 3, 1))
    )
    model.get_image_embeddings(everywhere.theirs.preprocess(resized))
    assert set(seen) == set(taps)
    for name, value in seen.items():
        theirs = value.reshape(-1, value.shape[-1]).numpy()
        assert theirs.std() > 0.1, "vacuous"
        close(name, taps[name], theirs)


def test_embedding_equals_segment_anything(everywhere):
    close(
        "embedding",
        everywhere.ours.encode(everywhere.image).features,
        everywhere.predictor().get_image_embedding().numpy(),
    )
