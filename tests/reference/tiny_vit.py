"""TinyViT in plain PyTorch, from its paper (Wu et al. 2022) and MobileSAM's (Zhang et al. 2023). It
is slow and obvious, and has the checkpoint's parameter names."""

import torch
from torch import nn
from torch.nn import functional as F


class ConvBn(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.c(x))


class MBConv(nn.Module):
    def __init__(self, dim, expand):
        super().__init__()
        hidden = int(dim * expand)
        self.conv1 = ConvBn(dim, hidden, 1)
        self.conv2 = ConvBn(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBn(hidden, dim, 1)

    def forward(self, x):
        return F.gelu(self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))) + x)


class Merge(nn.Module):
    def __init__(self, dim, out, stride):
        super().__init__()
        self.conv1 = ConvBn(dim, out, 1)
        self.conv2 = ConvBn(out, out, 3, stride, groups=out)
        self.conv3 = ConvBn(out, out, 1)

    def forward(self, x):
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Attention(nn.Module):
    """Attention over one window (B, N, C), with a learned bias for every offset of two
    positions."""

    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        places = [(y, x) for y in range(window) for x in range(window)]
        self.index = torch.tensor(
            [[abs(a[0] - b[0]) * window + abs(a[1] - b[1]) for b in places] for a in places]
        )

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = (
            self.qkv(self.norm(x)).view(b, n, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)
        )
        scores = (
            q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
            + self.attention_biases[:, self.index]
        )
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class Block(nn.Module):
    def __init__(self, dim, heads, window, ratio):
        super().__init__()
        self.window = window
        self.attn = Attention(dim, heads, window)
        self.local_conv = ConvBn(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim, int(dim * ratio))

    def forward(self, x):  # (B, C, H, W)
        b, c, h, w = x.shape
        s = self.window
        pad_h, pad_w = -h % s, -w % s
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, pad_w, 0, pad_h))
        rows, columns = (h + pad_h) // s, (w + pad_w) // s
        windows = padded.view(b, rows, s, columns, s, c).transpose(2, 3).reshape(-1, s * s, c)
        back = (
            self.attn(windows)
            .view(b, rows, columns, s, s, c)
            .transpose(2, 3)
            .reshape(b, h + pad_h, w + pad_w, c)
        )
        x = self.local_conv(x + back[:, :h, :w].permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    def __init__(self, blocks, downsample):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample


class Norm2d(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return F.layer_norm(
            x.permute(0, 2, 3, 1), (len(self.weight),), self.weight, self.bias, 1e-6
        ).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.seq = nn.Sequential(ConvBn(3, dim // 2, 3, 2), nn.GELU(), ConvBn(dim // 2, dim, 3, 2))

    def forward(self, x):
        return self.seq(x)


class TinyViT(nn.Module):
    """(B, 3, S, S) normalised and padded -> {"patch_embed", "stage_0" .. "stage_3", "neck"}, each
    (B, C, h, w)."""

    def __init__(
        self,
        dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        heads=(2, 4, 5, 10),
        windows=(7, 7, 14, 7),
        ratio=4.0,
        expand=4.0,
        output=256,
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(dims[0])
        layers = []
        for s in range(4):
            blocks = [
                MBConv(dims[0], expand) if s == 0 else Block(dims[s], heads[s], windows[s], ratio)
                for _ in range(depths[s])
            ]
            layers.append(
                Stage(blocks, Merge(dims[s], dims[s + 1], 1 if s == 2 else 2) if s < 3 else None)
            )
        self.layers = nn.ModuleList(layers)
        self.neck = nn.Sequential(
            nn.Conv2d(dims[3], output, 1, bias=False),
            Norm2d(output),
            nn.Conv2d(output, output, 3, padding=1, bias=False),
            Norm2d(output),
        )

    def forward(self, x):
        seen = {}
        x = seen["patch_embed"] = self.patch_embed(x)
        for s, stage in enumerate(self.layers):
            for block in stage.blocks:
                x = block(x)
            if s < 3:
                x = seen[f"stage_{s}"] = stage.downsample(x)
        seen["stage_3"] = x
        seen["neck"] = self.neck(x)
        return seen
