"""Initial weights. transformers' own defaults do not train: the positional embedding has a standard
deviation of hidden / 2 (SAM's is 1), and the vision encoder an initial range of 1e-10."""

import math

import torch
from torch import nn

from .model import Attention, Sam, VisionAttention


def _cosines(patch, dim):
    """(dim, 3, patch, patch): the first cosine patterns of a patch, in luminance and two colour
    differences."""
    at = (torch.arange(patch) + 0.5) * math.pi / patch
    waves = torch.cos(at[None] * torch.arange(patch)[:, None]) * (2 / patch) ** 0.5
    waves[0] /= 2**0.5
    order = sorted((u + v, u, v) for u in range(patch) for v in range(patch))
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [0.5, -1, 0.5]])
    colours /= colours.norm(dim=1, keepdim=True)
    kernels = [
        torch.einsum("c,y,x->cyx", c, waves[u], waves[v]) for _, u, v in order for c in colours
    ]
    return torch.stack(kernels)[:dim]


@torch.no_grad()
def fresh(config, seed):
    """A Sam with initial weights: the patch embedding is made of cosines, the decoder's
    cross-attention starts as the positional kernel (q_proj = k_proj), and positional frequencies
    have a standard deviation of 0.5 to 4 by octave."""
    torch.manual_seed(seed)
    net = Sam(config)
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5 * 0.7)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
        elif isinstance(module, VisionAttention):
            nn.init.trunc_normal_(module.rel_pos_h, std=0.02)
            nn.init.trunc_normal_(module.rel_pos_w, std=0.02)
        if (
            isinstance(module, Attention)
            and "cross" in name
            or name.endswith("final_attn_token_to_image")
        ):
            module.k_proj.weight.copy_(module.q_proj.weight)
    encoder = net.vision_encoder
    nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
    projection = encoder.patch_embed.projection
    kernels = _cosines(encoder.patch, projection.weight.shape[0])
    nn.init.trunc_normal_(projection.weight, std=0.02)
    projection.weight[: len(kernels)] = kernels
    nn.init.zeros_(projection.bias)
    for layer in encoder.layers:
        for last in (layer.attn.proj, layer.mlp.lin2):
            last.weight.mul_((2 * len(encoder.layers)) ** -0.5)
    frequencies = net.shared_image_embedding.positional_embedding
    octaves = torch.linspace(-1, 2, frequencies.shape[1]).exp2()
    frequencies.copy_(torch.randn_like(frequencies) * octaves)
    net.prompt_encoder.no_mask_embed.weight.zero_()
    head = net.mask_decoder.iou_prediction_head.proj_out
    head.weight.mul_(0.1)
    head.bias.fill_(0.5)
    return net
