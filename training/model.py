"""SAM in plain PyTorch, arranged for fast training on a CPU. Parameter names are those of
transformers' SamModel.

The algebra is exact (see `tests/training/test_smoke.py`): relative positions are folded into longer
queries and keys, the decoder's image-side projections are folded onto the few tokens, the
transposed convolutions are Linear layers whose pixel shuffle is done on the masks, and consecutive
window layers keep their tokens in window order.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

MEAN = torch.tensor([123.675, 116.28, 103.53])
STD = torch.tensor([58.395, 57.12, 57.375])


class Mlp(nn.Module):
    """lin1, activation, lin2."""

    def __init__(self, dim, hidden, activation):
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)
        self.activation = activation

    def forward(self, x):
        return self.lin2(self.activation(self.lin1(x)))


class VisionAttention(nn.Module):
    """Attention over `size` x `size` tokens with decomposed relative positions: exact, without a
    tensor of biases."""

    def __init__(self, dim, heads, size):
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
        at = torch.arange(size)
        self.register_buffer("index", at[:, None] - at[None, :] + size - 1, persistent=False)
        eye = torch.eye(size)
        places = torch.cat([eye.repeat_interleave(size, 0), eye.repeat(size, 1)], 1)
        self.register_buffer("places", places, persistent=False)

    def forward(self, x):
        n, length, dim = x.shape
        h, s, d = self.heads, self.size, dim // self.heads
        q, k, v = self.qkv(x).view(n, length, 3, h, d).permute(2, 0, 3, 1, 4)
        q5 = q.reshape(n, h, s, s, d)
        rel_h = torch.matmul(
            q5.permute(2, 0, 1, 3, 4).reshape(s, -1, d), self.rel_pos_h[self.index].mT
        )
        rel_w = torch.matmul(
            q5.permute(3, 0, 1, 2, 4).reshape(s, -1, d), self.rel_pos_w[self.index].mT
        )
        rel_h = rel_h.view(s, n, h, s, s).permute(1, 2, 0, 3, 4).reshape(n, h, length, s)
        rel_w = rel_w.view(s, n, h, s, s).permute(1, 2, 3, 0, 4).reshape(n, h, length, s)
        q = torch.cat([q * d**-0.5, rel_h, rel_w], -1).reshape(n * h, length, d + 2 * s)
        k = torch.cat([k, self.places.to(k.dtype).expand(n, h, -1, -1)], -1).reshape(
            n * h, length, d + 2 * s
        )
        weights = torch.bmm(q, k.mT).softmax(-1)
        out = torch.bmm(weights, v.reshape(n * h, length, d))
        return self.proj(out.view(n, h, length, d).transpose(1, 2).reshape(n, length, dim))


class VisionLayer(nn.Module):
    """Transformer block with norms first; the caller has put the tokens in window order."""

    def __init__(self, c, size):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(c["hidden_size"], eps=c["layer_norm_eps"])
        self.attn = VisionAttention(c["hidden_size"], c["num_attention_heads"], size)
        self.layer_norm2 = nn.LayerNorm(c["hidden_size"], eps=c["layer_norm_eps"])
        self.mlp = Mlp(c["hidden_size"], c["mlp_dim"], F.gelu)

    def forward(self, x):
        x = x + self.attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VisionEncoder(nn.Module):
    """Image (B, 3, S, S) to tokens (B, G*G, output_channels)."""

    def __init__(self, c):
        super().__init__()
        self.patch, self.grid = c["patch_size"], c["image_size"] // c["patch_size"]
        self.window, self.whole = c["window_size"], set(c["global_attn_indexes"])
        if self.grid % self.window:
            raise ValueError(
                f"training needs windows that divide the token grid: {self.grid} % {self.window}"
            )
        dim, out = c["hidden_size"], c["output_channels"]
        self.patch_embed = nn.Module()
        self.patch_embed.projection = nn.Conv2d(3, dim, self.patch, self.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid, self.grid, dim))
        sizes = [
            self.grid if i in self.whole else self.window for i in range(c["num_hidden_layers"])
        ]
        self.layers = nn.ModuleList(VisionLayer(c, size) for size in sizes)
        self.neck = nn.Module()
        self.neck.conv1 = nn.Conv2d(dim, out, 1, bias=False)
        self.neck.layer_norm1 = nn.LayerNorm(out, eps=1e-6)
        self.neck.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.neck.layer_norm2 = nn.LayerNorm(out, eps=1e-6)

    def forward(self, pixels):
        b, g, w, p = len(pixels), self.grid, self.window, self.patch
        patches = (
            pixels.view(b, 3, g, p, g, p).permute(0, 2, 4, 1, 3, 5).reshape(b, g, g, 3 * p * p)
        )
        projection = self.patch_embed.projection
        x = F.linear(patches, projection.weight.flatten(1), projection.bias) + self.pos_embed
        dim, n, windowed = x.shape[-1], g // w, False
        for index, layer in enumerate(self.layers):
            want = index not in self.whole
            if want and not windowed:
                x = x.view(b, n, w, n, w, dim).transpose(2, 3).reshape(b * n * n, w * w, dim)
            elif windowed and not want:
                x = x.view(b, n, n, w, w, dim).transpose(2, 3).reshape(b, g * g, dim)
            x, windowed = layer(x if want else x.reshape(b, g * g, dim)), want
        if windowed:
            x = x.view(b, n, n, w, w, dim).transpose(2, 3)
        neck = self.neck
        x = neck.layer_norm1(F.linear(x.reshape(b, g, g, dim), neck.conv1.weight.flatten(1)))
        x = F.conv2d(x.permute(0, 3, 1, 2), neck.conv2.weight, padding=1)
        return neck.layer_norm2(x.permute(0, 2, 3, 1)).reshape(b, g * g, -1)


class Attention(nn.Module):
    """The decoder's attention; `fold*` apply its projections to the side with few tokens."""

    def __init__(self, dim, heads, rate):
        super().__init__()
        self.heads, self.inner = heads, dim // rate
        self.scale = (self.inner // heads) ** -0.5
        self.q_proj, self.k_proj = nn.Linear(dim, self.inner), nn.Linear(dim, self.inner)
        self.v_proj, self.out_proj = nn.Linear(dim, self.inner), nn.Linear(self.inner, dim)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def forward(self, q, k, v):
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        out = ((q @ k.mT) * self.scale).softmax(-1) @ v
        return self.out_proj(out.transpose(-2, -3).flatten(-2))

    def tokens_to_image(self, q, keys_pe, keys):
        """q (B,P,T,C), keys (B,P or 1,L,C): the key bias cancels in the softmax, the value bias
        passes through."""
        b, p, t, c = q.shape
        h = self.heads
        q = self.split(self.q_proj(q) * self.scale) @ self.k_proj.weight.view(h, -1, c)
        q = q.reshape(b, keys_pe.shape[1], -1, c)
        weights = (q @ keys_pe.mT).softmax(-1)
        context = (weights @ keys).view(b, p, h, t, c) @ self.v_proj.weight.view(h, -1, c).mT
        return self.out_proj(context.transpose(-2, -3).flatten(-2) + self.v_proj.bias)

    def image_to_tokens(self, keys_pe, k, v):
        """keys (B,P or 1,L,C), k and v (B,P,T,C): returns (B,P,L,C)."""
        b, p, t, c = k.shape
        h = self.heads
        k, v = self.split(self.k_proj(k) * self.scale), self.split(self.v_proj(v))
        bias = (k @ self.q_proj.bias.view(h, -1, 1)).reshape(b, p, h, t, 1)
        k = (k @ self.q_proj.weight.view(h, -1, c)).reshape(b, keys_pe.shape[1], -1, c)
        logits = (k @ keys_pe.mT).view(b, p, h, t, -1) + bias
        weights = logits.softmax(-2).flatten(2, 3)
        v = (v @ self.out_proj.weight.mT.reshape(h, -1, c)).flatten(2, 3)
        return weights.mT @ v + self.out_proj.bias


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, c, first):
        super().__init__()
        dim = c["hidden_size"]
        heads = c["num_attention_heads"]
        rate = c["attention_downsample_rate"]
        eps = 1e-6
        self.first = first
        self.self_attn = Attention(dim, heads, 1)
        self.cross_attn_token_to_image = Attention(dim, heads, rate)
        self.cross_attn_image_to_token = Attention(dim, heads, rate)
        self.mlp = Mlp(dim, c["mlp_dim"], F.relu)
        for i in range(1, 5):
            setattr(self, f"layer_norm{i}", nn.LayerNorm(dim, eps=eps))

    def forward(self, queries, keys, keys_pe, tokens, pe):
        if self.first:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + tokens
            queries = queries + self.self_attn(q, q, queries)
        queries = self.layer_norm1(queries)
        queries = queries + self.cross_attn_token_to_image.tokens_to_image(
            queries + tokens, keys_pe, keys
        )
        queries = self.layer_norm2(queries)
        queries = self.layer_norm3(queries + self.mlp(queries))
        keys = keys + self.cross_attn_image_to_token.image_to_tokens(
            keys_pe, queries + tokens, queries
        )
        keys = self.layer_norm4(keys)
        return queries, keys, keys + pe


class FeedForward(nn.Module):
    """Three Linear layers with ReLU between."""

    def __init__(self, dim, hidden, out, depth=3):
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(dim, hidden), nn.Linear(hidden, out)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))

    def forward(self, x):
        x = F.relu(self.proj_in(x))
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.proj_out(x)


class MaskDecoder(nn.Module):
    """Tokens and image to four masks (the single one first) and their predicted IoU."""

    def __init__(self, c):
        super().__init__()
        dim, masks = c["hidden_size"], c["num_multimask_outputs"] + 1
        self.iou_token, self.mask_tokens = nn.Embedding(1, dim), nn.Embedding(masks, dim)
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(
            TwoWayBlock(c, i == 0) for i in range(c["num_hidden_layers"])
        )
        self.transformer.final_attn_token_to_image = Attention(
            dim, c["num_attention_heads"], c["attention_downsample_rate"]
        )
        self.transformer.layer_norm_final_attn = nn.LayerNorm(dim)
        self.upscale_conv1 = nn.ConvTranspose2d(dim, dim // 4, 2, 2)
        self.upscale_conv2 = nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2)
        self.upscale_layer_norm = nn.LayerNorm(dim // 4, eps=1e-6)
        self.output_hypernetworks_mlps = nn.ModuleList(
            FeedForward(dim, dim, dim // 8) for _ in range(masks)
        )
        self.iou_prediction_head = FeedForward(
            dim, c["iou_head_hidden_dim"], masks, c["iou_head_depth"]
        )

    @staticmethod
    def spread(conv, x):
        """The transposed convolution (2 x 2, stride 2) as a Linear layer: (..., in) to (..., 4,
        out)."""
        weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return F.linear(x, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))

    def forward(self, keys, prompts, pe):
        """keys (B, P or 1, L, C), prompts (B, P, T, C), pe (L, C): masks (B, P, M, 4G, 4G), IoU (B,
        P, M)."""
        b, p = prompts.shape[:2]
        fixed = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(b, p, -1, -1)
        tokens = torch.cat([fixed, prompts.to(fixed.dtype)], 2)
        queries, keys_pe = tokens, keys + pe
        for layer in self.transformer.layers:
            queries, keys, keys_pe = layer(queries, keys, keys_pe, tokens, pe)
        final = self.transformer.final_attn_token_to_image
        queries = queries + final.tokens_to_image(queries + tokens, keys_pe, keys)
        queries = self.transformer.layer_norm_final_attn(queries)
        fine = F.gelu(self.upscale_layer_norm(self.spread(self.upscale_conv1, keys)))
        fine = F.gelu(self.spread(self.upscale_conv2, fine))  # B, P, L, 4, 4, C/8
        mlps = self.output_hypernetworks_mlps
        hyper = torch.stack([mlp(queries[:, :, 1 + i]) for i, mlp in enumerate(mlps)], 2)
        masks = (hyper @ fine.flatten(2, 4).mT).view(
            b, p, len(mlps), *[int(keys.shape[2] ** 0.5)] * 2, 2, 2, 2, 2
        )
        masks = masks.permute(0, 1, 2, 3, 5, 7, 4, 6, 8).flatten(6, 8).flatten(3, 5)
        return masks, self.iou_prediction_head(queries[:, :, 0])


class PromptEncoder(nn.Module):
    """Points, boxes and mask hints; positions are in pixels of the model frame."""

    def __init__(self, c):
        super().__init__()
        dim, channels, self.size = c["hidden_size"], c["mask_input_channels"], c["image_size"]
        self.mask_embed = nn.Module()
        self.mask_embed.conv1 = nn.Conv2d(1, channels // 4, 2, 2)
        self.mask_embed.conv2 = nn.Conv2d(channels // 4, channels, 2, 2)
        self.mask_embed.conv3 = nn.Conv2d(channels, dim, 1)
        self.mask_embed.layer_norm1 = nn.LayerNorm(channels // 4, eps=c["layer_norm_eps"])
        self.mask_embed.layer_norm2 = nn.LayerNorm(channels, eps=c["layer_norm_eps"])
        self.no_mask_embed, self.not_a_point_embed = nn.Embedding(1, dim), nn.Embedding(1, dim)
        self.point_embed = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))

    def kinds(self):
        """Embeddings of the labels -1 (no point), 0, 1, 2 and 3 (box corners), in this order."""
        return torch.cat([self.not_a_point_embed.weight] + [e.weight for e in self.point_embed])

    def hints(self, logits):
        """Low-res logits (N, 4G, 4G) to dense embeddings (N, L, C)."""
        m = self.mask_embed
        x = m.conv1(logits[:, None]).permute(0, 2, 3, 1)
        x = m.conv2(F.gelu(m.layer_norm1(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = F.gelu(m.layer_norm2(x))
        return F.linear(x, m.conv3.weight.flatten(1), m.conv3.bias).flatten(1, 2)


class Sam(nn.Module):
    """Encoder, prompt encoder and decoder, built from a transformers config.json (a dict)."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        vision, prompt = config["vision_config"], config["prompt_encoder_config"]
        self.size, self.grid = vision["image_size"], vision["image_size"] // vision["patch_size"]
        self.shared_image_embedding = nn.Module()
        self.shared_image_embedding.positional_embedding = nn.Parameter(
            torch.randn(2, vision["num_pos_feats"])
        )
        self.vision_encoder = VisionEncoder(vision)
        self.prompt_encoder = PromptEncoder(prompt)
        self.mask_decoder = MaskDecoder(config["mask_decoder_config"])

    def positions(self, xy):
        """Fourier features, in fp32, of coordinates in [0, 1]."""
        angle = (
            2
            * torch.pi
            * ((2 * xy.float() - 1) @ self.shared_image_embedding.positional_embedding.float())
        )
        return torch.cat([angle.sin(), angle.cos()], -1)

    def normalise(self, images, sizes):
        """uint8 (B, S, S, 3) and (B, 2) valid heights and widths to (B, 3, S, S), zero outside the
        picture."""
        x = (images.float() - MEAN.to(images.device)) / STD.to(images.device)
        at = torch.arange(self.size, device=images.device)
        valid = (at[None, :, None] < sizes[:, 0, None, None]) & (
            at[None, None, :] < sizes[:, 1, None, None]
        )
        dtype = self.prompt_encoder.no_mask_embed.weight.dtype
        return (x * valid[..., None]).permute(0, 3, 1, 2).to(dtype).contiguous()

    def decode(self, image, points, labels, hints=None):
        """image (B, L, C); points (B, P, K, 2) in pixels, labels (B, P, K) in -1, 0, 1, 2, 3; hints
        (B, P, 4G, 4G) low-res logits or None. One -1 label belongs at the end of point prompts
        without a box, as in SAM."""
        kinds = self.prompt_encoder.kinds()
        places = self.positions((points + 0.5) / self.size) * (labels >= 0)[..., None]
        prompts = places + kinds.float()[labels.long() + 1]
        dtype = kinds.dtype
        at = (torch.arange(self.grid, device=image.device) + 0.5) / self.grid
        pe = (
            self.positions(torch.stack(torch.meshgrid(at, at, indexing="xy"), -1))
            .flatten(0, 1)
            .to(dtype)
        )
        if hints is None:
            dense = self.prompt_encoder.no_mask_embed.weight[None, None]
        else:
            dense = self.prompt_encoder.hints(hints.flatten(0, 1).to(dtype)).unflatten(
                0, hints.shape[:2]
            )
        return self.mask_decoder(image[:, None] + dense, prompts.to(dtype), pe)


def load(folder, device="cpu", dtype=torch.float32):
    """A Sam from a folder with config.json and model.safetensors."""
    folder = Path(folder)
    model = Sam(json.loads((folder / "config.json").read_text()))
    weights = load_file(str(folder / "model.safetensors"))
    weights.pop("prompt_encoder.shared_embedding.positional_embedding", None)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model.to(device=device, dtype=dtype)
