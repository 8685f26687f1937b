"""The image encoder of Sam2VideoModel, arranged for training on a CPU, on the model's own
parameters. The algebra is exact: tokens stay in window order while windows stay the same, the
module's unused product of attention is left out, and the neck's 1 x 1 convolutions of the two fine
levels are multiplied into the decoder's, which follow them directly."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..model import MEAN, STD


@dataclass
class Features:
    """The features of F frames: high (F, C/8, 4g, 4g) and middle (F, C/4, 2g, 2g) for the decoder,
    tokens (F, C, g, g) for memory attention."""

    high: torch.Tensor
    middle: torch.Tensor
    tokens: torch.Tensor

    def of(self, rows):
        """The features of the frames `rows` (an index per object)."""
        return Features(self.high[rows], self.middle[rows], self.tokens[rows])


def _windows(x, side):
    """(B, H, W, C) to (B x windows, side, side, C)."""
    b, h, w, c = x.shape
    x = x.view(b, h // side, side, w // side, side, c).transpose(2, 3)
    return x.reshape(-1, side, side, c)


def _grid(x, count):
    """The inverse of `_windows` for `count` pictures."""
    n, side, _, c = x.shape
    across = round((n // count) ** 0.5)
    x = x.view(count, across, across, side, side, c).transpose(2, 3)
    return x.reshape(count, across * side, across * side, c)


def _pooled(x):
    """The largest of each 2 x 2 tokens of (n, h, w, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _attention(module, x):
    """Attention within each of n windows (n, h, w, C), with queries pooled where the module pools
    them."""
    n, h, w, _ = x.shape
    heads = module.num_attention_heads
    qkv = module.qkv(x).view(n, h * w, 3, heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    if module.query_stride:
        q = _pooled(qkv[:, :, 0].reshape(n, h, w, -1))
        h, w = q.shape[1:3]
        q = q.view(n, h * w, heads, -1).transpose(1, 2)
    q = (q * module.scale).reshape(n * heads, h * w, -1)
    weights = torch.bmm(q, k.reshape(n * heads, -1, q.shape[-1]).mT).softmax(-1)
    out = torch.bmm(weights, v.reshape(n * heads, -1, q.shape[-1]))
    out = out.view(n, heads, h * w, -1).transpose(1, 2).reshape(n, h, w, -1)
    return module.proj(out)


def _block(module, x):
    """One block on tokens that are in the order of its windows."""
    normed = module.layer_norm1(x)
    if module.dim != module.dim_out:
        x = module.proj(normed)
        x = _pooled(x) if module.query_stride else x
    x = x + _attention(module.attn, normed)
    return x + module.mlp(module.layer_norm2(x))


def _backbone(backbone, pixels):
    """The tokens (F, H, W, C) after each stage."""
    x = backbone.patch_embed(pixels)
    x = x + backbone._get_pos_embed(x.shape[1:3])
    count, whole, stages = len(x), x.shape[1], []
    side = whole  # of the windows in whose order the tokens are
    for index, block in enumerate(backbone.blocks):
        wanted = block.window_size or whole
        if whole % wanted:
            raise ValueError(f"training needs windows that divide the grid: {whole} % {wanted}")
        if wanted != side:
            x = _windows(_grid(x, count), wanted)
        x, side = _block(block, x), wanted
        if block.query_stride:
            side, whole = side // 2, whole // 2
        if index in backbone.stage_ends:
            stages.append(_grid(x, count))
    return stages


def _folded(first, second):
    """Weight and bias of two 1 x 1 convolutions in a row, as those of a Linear layer."""
    a, b = first.weight.flatten(1), second.weight.flatten(1)
    return b @ a, b @ first.bias + second.bias


def _linear(x, weight, bias):
    """(F, H, W, C) to (F, C', H, W)."""
    return F.linear(x, weight, bias).permute(0, 3, 1, 2).contiguous()


def encode(model, frames):
    """Features of (F, S, S, 3) uint8 frames."""
    dtype = model.no_memory_embedding.dtype
    pixels = ((frames.float() - MEAN) / STD).permute(0, 3, 1, 2).contiguous().to(dtype)
    neck, decoder = model.vision_encoder.neck, model.mask_decoder
    fine, middle, coarse, coarsest = _backbone(model.vision_encoder.backbone, pixels)
    top, above = (
        _linear(x, conv.weight.flatten(1), conv.bias)
        for x, conv in ((coarsest, neck.convs[0]), (coarse, neck.convs[1]))
    )
    return Features(
        _linear(fine, *_folded(neck.convs[3], decoder.conv_s0)),
        _linear(middle, *_folded(neck.convs[2], decoder.conv_s1)),
        above + top.repeat_interleave(2, -1).repeat_interleave(2, -2),
    )
