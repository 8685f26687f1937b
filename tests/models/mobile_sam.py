"""MobileSAM with seeded random weights: TinyViT's are made here, the others are those of a random
SAM."""

import json
import math
from pathlib import Path

import torch

PRESETS = {
    # The windows of "small" divide none of its grids.
    "small": dict(
        image=144,
        dims=(16, 32, 48, 64),
        depths=(1, 2, 2, 1),
        heads=(2, 2, 3, 4),
        windows=(7, 7, 5, 4),
        output=64,
        sam="small",
    ),
    "mobile_sam": dict(
        image=1024,
        dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        heads=(2, 4, 5, 10),
        windows=(7, 7, 14, 7),
        output=256,
        sam="published decoder",
    ),
}


def encoder(preset, seed=0):
    """The plain TinyViT with random weights and statistics."""
    from tests.reference.tiny_vit import TinyViT

    c = PRESETS[preset]
    torch.manual_seed(seed)
    model = TinyViT(c["dims"], c["depths"], c["heads"], c["windows"], output=c["output"]).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and "attention_biases" not in name:
                p.copy_(
                    torch.randn_like(p)
                    / math.sqrt(math.prod(p.shape[1:]))
                    * (1.4 if "conv" in name or "seq" in name else 1.0)
                )
            elif name.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            else:
                p.copy_((0.7 if "attention_biases" in name else 0.1) * torch.randn_like(p))
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(0.1 * torch.randn_like(b))
            elif name.endswith("running_var"):
                b.copy_(0.5 + torch.rand_like(b))
    return model


def checkpoint(preset, scratch, seed=0):
    """The tensors of a MobileSAM checkpoint, as mobile_sam.pt names them."""
    from tests.models import sam

    c = PRESETS[preset]
    rest = sam.to_segment_anything(sam.make(c["sam"], Path(scratch) / "sam")).state_dict()
    rest = {k: v for k, v in rest.items() if not k.startswith("image_encoder.")}
    return {f"image_encoder.{k}": v for k, v in encoder(preset, seed).state_dict().items()} | rest


def make(preset, folder, seed=0):
    """Writes config.json and model.safetensors into `folder` and returns it."""
    import tempfile

    from safetensors.torch import save_file
    from segrid.convert import mobile_sam

    with tempfile.TemporaryDirectory() as scratch:
        config, tensors, _ = mobile_sam.convert(
            checkpoint(preset, scratch, seed), PRESETS[preset]["image"]
        )
    if preset == "small":
        config["mask_decoder_config"]["num_attention_heads"] = 4
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.contiguous().clone() for k, v in tensors.items()},
        str(Path(folder) / "model.safetensors"),
    )
    (Path(folder) / "config.json").write_text(json.dumps(config))
    return Path(folder)
