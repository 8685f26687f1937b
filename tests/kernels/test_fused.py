"""The fused kernels against the formula in their header, written in torch float64, on odd shapes."""

import numpy as np
import pytest
import torch


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def double(a):
    return torch.from_numpy(a).double()


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("grid, dim", [((1, 1), 8), ((3, 5), 8), ((14, 14), 64), ((7, 40), 36), ((33, 17), 16)])
def test_grid_attention(kernels, grid, dim, relative):
    h, w = grid
    q, k, v, rel_h, rel_w = draw(h * w, (h * w, dim), (h * w, dim), (h * w, dim), (2 * h - 1, dim), (2 * w - 1, dim))
    scores = 0.5 * double(q) @ double(k).T
    if relative:  # segment-anything's add_decomposed_rel_pos
        queries = double(q).view(h, w, dim)
        rows = double(rel_h)[torch.arange(h)[:, None] - torch.arange(h) + h - 1]
        columns = double(rel_w)[torch.arange(w)[:, None] - torch.arange(w) + w - 1]
        bias = torch.einsum("hwc,hkc->hwk", queries, rows)[..., None] + torch.einsum("hwc,wkc->hwk", queries, columns)[..., None, :]
        scores = scores + bias.view(h * w, h * w)
    expected = (scores.softmax(1) @ double(v)).numpy()
    tables = (rel_h, rel_w) if relative else (None, None)
    for first, rows in {(0, h * w), (h * w // 3, (h * w + 1) // 2)}:
        got = kernels.attention(q, k, v, grid, *tables, first=first, rows=rows)
        assert np.abs(got - expected[first:first + rows]).max() < 1e-6 * scores.abs().max()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("keys, dim, heads, tokens, range_", [(1, 16, 2, 1, 64), (100, 48, 3, 5, 64), (257, 32, 8, 7, 128), (64, 256, 8, 9, 64)])
def test_two_way_sweep(kernels, keys, dim, heads, tokens, range_, shared):
    columns, live, width = -(-heads * tokens // 16) * 16, heads * tokens, 24 if shared else dim
    x, position, ask, bias, values, gamma, read, side = draw(
        keys + tokens, (keys, dim), (keys, dim), (width, columns), (columns,), (columns, dim), (dim,), (dim, columns), (keys, width))
    ask, read = ask / width**0.5, read / dim**0.5
    for padded in (ask, bias[None], read):
        padded[:, live:] = 0
    values[live:] = 0
    of_image = double(side) if shared else double(x) + double(position)
    p = (of_image @ double(ask) + double(bias))[:, :live].view(keys, tokens, heads).softmax(1).reshape(keys, live)
    g = double(gamma)
    updated = torch.nn.functional.layer_norm(double(x) + p @ double(values)[:live] + g, (dim,), g, g, 1e-5)
    seen = ((updated + double(position)) @ double(read)).softmax(0).T @ updated
    got_keys, got_seen = kernels.two_way(x, position, heads, tokens, ask, bias, values, gamma, read, side if shared else None, range=range_)
    assert np.abs(got_keys - updated.numpy()).max() < 2e-5
    assert np.abs(got_seen[:live] - seen.numpy()[:live]).max() < 2e-5


@pytest.mark.parametrize("h, w, dim, masks", [(1, 1, 32, 1), (3, 5, 64, 3), (4, 7, 36, 4), (2, 64, 256, 16)])
def test_upscale(kernels, h, w, dim, masks):
    c1, c2 = dim // 4, max(1, dim // 8)
    keys, w1, b1, gamma, beta, w2, b2, hyper = draw(
        h * w, (h * w, dim), (dim, c1, 2, 2), (c1,), (c1,), (c1,), (c1, c2, 2, 2), (c2,), (masks, c2))
    x = torch.nn.functional.conv_transpose2d(double(keys).T.view(1, dim, h, w), double(w1), double(b1), 2)
    x = torch.nn.functional.layer_norm(x.permute(0, 2, 3, 1), (c1,), double(gamma), double(beta), 1e-6).permute(0, 3, 1, 2)
    x = torch.nn.functional.gelu(torch.nn.functional.conv_transpose2d(torch.nn.functional.gelu(x), double(w2), double(b2), 2))
    expected = (double(hyper) @ x[0].reshape(c2, -1)).view(masks, 4 * h, 4 * w).numpy()
    got = kernels.upscale(keys, w, w1, b1, gamma, beta, w2, b2, hyper)
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
