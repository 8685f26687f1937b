"""Seeded random weights that give useful outputs, for transformers' models and for the originals.
Plain random weights give empty masks and equal scores, on which a comparison shows nothing."""

import math
import re
from pathlib import Path

import torch

# These parameters are looked up or added, not multiplied.
TABLES = re.compile(r"pos_embed|no_memory|(_embed|token|tokens)(\.\d+)?\.weight$")


def value(name, p):
    """Random values for parameter `p`, which transformers calls `name`: one draw of its shape."""
    if "positional_embedding" in name:
        return torch.randn_like(p)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.2 * torch.randn_like(p)
    if name.endswith("bias"):
        return 0.1 * torch.randn_like(p)
    if TABLES.search(name):
        return 0.5 * torch.randn_like(p)
    if "rel_pos" in name:
        return 0.3 * torch.randn_like(p)
    fan_in = p.shape[0] if "upscale_conv" in name else math.prod(p.shape[1:])
    # The decoder's attention is soft: sharp attention over thousands of random keys would amplify
    # rounding a thousandfold.
    soft = (
        0.3
        if "mask_decoder.transformer" in name and ("q_proj" in name or "k_proj" in name)
        else 1.0
    )
    return soft * torch.randn_like(p) / math.sqrt(fan_in)


@torch.no_grad()
def save(model, calibrate, folder):
    """Fills transformers' `model`, lets `calibrate(model)` scale its outputs, writes it into
    `folder` and returns the folder."""
    for name, p in model.named_parameters():
        p.copy_(value(name, p))
    for name, b in model.named_buffers():
        if "positional_embedding" in name:
            b.copy_(torch.randn_like(b))
    calibrate(model.eval())
    Path(folder).mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    return Path(folder)


def clicks(model, side):
    """The model's outputs for random clicks on a random image."""
    image = torch.nn.functional.interpolate(
        torch.randn(1, 3, 16, 16), size=(side, side), mode="bilinear"
    )
    points = torch.rand(1, 24, 1, 2) * side
    return model(
        image,
        input_points=points,
        input_labels=torch.ones(1, 24, 1, dtype=torch.long),
        multimask_output=True,
    )


def spread(model, logits, iou, mean, deviation):
    """Scales the masks' logits to a standard deviation of 8, and predicted IoUs to mean +-
    deviation."""
    for mlp in model.mask_decoder.output_hypernetworks_mlps:
        mlp.proj_out.weight.mul_(8 / logits.std())
        mlp.proj_out.bias.mul_(8 / logits.std())
    head = model.mask_decoder.iou_prediction_head.proj_out
    scale, was = deviation / iou.std(), iou.mean()
    head.weight.mul_(scale)
    head.bias.mul_(scale).add_(mean - was * scale)
