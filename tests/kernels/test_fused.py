"""The fused kernels on odd shapes against the formulas of their headers, computed by torch in
float64."""

import numpy as np
import pytest
import torch
from segrid import _core


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def double(a):
    return torch.from_numpy(a).double()


@pytest.mark.parametrize(
    "kernels",
    [
        "auto",
        "gemm_bf16=avx512bf16",
        "gemm_bf16=brgemm",
        "gemm=plain,gemm_bf16=plain,rows=plain",
        "avx2",
        "plain",
    ],
    indirect=True,
)
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize(
    "grid, dim",
    [
        ((1, 1), 8),
        ((5, 7), 9),
        ((3, 5), 8),
        ((14, 14), 64),
        ((7, 40), 36),
        ((33, 17), 16),
        ((12, 64), 64),
        ((3, 128), 7),
        ((1, 801), 6),
    ],
)
def test_grid_attention(kernels, grid, dim, relative):
    h, w = grid
    q, k, v, rel_h, rel_w = draw(
        h * w, (h * w, dim), (h * w, dim), (h * w, dim), (2 * h - 1, dim), (2 * w - 1, dim)
    )
    scores = 0.5 * double(q) @ double(k).T
    if relative:  # segment-anything's add_decomposed_rel_pos
        queries = double(q).view(h, w, dim)
        rows = double(rel_h)[torch.arange(h)[:, None] - torch.arange(h) + h - 1]
        columns = double(rel_w)[torch.arange(w)[:, None] - torch.arange(w) + w - 1]
        bias = (
            torch.einsum("hwc,hkc->hwk", queries, rows)[..., None]
            + torch.einsum("hwc,wkc->hwk", queries, columns)[..., None, :]
        )
        scores = scores + bias.view(h * w, h * w)
    expected = (scores.softmax(1) @ double(v)).numpy()
    tables = (rel_h, rel_w) if relative else (None, None)
    # These queries are in one row of the grid; their number is not a multiple of a register tile's
    # rows.
    in_one_row = (
        h // 2 * w + w // 4,
        max(1, w - w // 4 - 1),
    )
    for first, rows in {(0, h * w), (h * w // 3, (h * w + 1) // 2), in_one_row}:
        for precision, tolerance in (
            ("fp32", 1e-6 * scores.abs().max()),
            ("bf16", 0.01 * (1 + scores.abs().max())),
        ):
            got = kernels.attention(
                q, k, v, grid, *tables, first=first, rows=rows, precision=precision
            )
            assert np.abs(got - expected[first : first + rows]).max() < tolerance


@pytest.mark.parametrize(
    "kernels",
    ["auto", "gemm_bf16=avx512bf16", "gemm_bf16=brgemm", "avx2", "plain"],
    indirect=True,
)
@pytest.mark.parametrize(
    "queries, keys, dim, width",
    [(1, 1, 8, 3), (5, 130, 12, 4), (64, 64, 256, 64), (100, 1003, 256, 64), (129, 700, 34, 66)],
)
def test_attention_to_other_tokens(kernels, queries, keys, dim, width):
    """Keys without a grid, whose values are narrower or wider than they are."""
    q, k, v = draw(keys, (queries, dim), (keys, dim), (keys, width))
    q /= dim**0.5
    scores = 0.5 * double(q) @ double(k).T
    expected = (scores.softmax(1) @ double(v)).numpy()
    for precision, tolerance in (("fp32", 3e-6), ("bf16", 0.02)):
        got = kernels.attention(q, k, v, (keys, 1), first=0, rows=queries, precision=precision)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() < tolerance


@pytest.mark.parametrize(
    "queries, places, frames, width",
    [(1, 16, 1, 4), (5, 32, 7, 64), (24, 64, 7, 64), (4, 16, 3, 33), (7, 48, 16, 8)],
)
@pytest.mark.parametrize("group", [8, 16])
def test_place_scores(kernels, queries, places, frames, width, group):
    if (
        group == 8
        and {k["op"]: k["chosen"] for k in _core.kernel_choices()}["place_scores"] == "avx512"
    ):
        pytest.skip("AVX-512 reads groups of 16 places")
    across, down, keys = draw(
        places, (queries, places, width + 1), (queries, width + 1), (places, frames, width)
    )
    both = double(across) + double(down)[:, None]
    expected = torch.einsum("qpc,pfc->qpf", both[..., :-1], double(keys)) + both[..., -1:]
    got = kernels.place_scores(across, down, keys, group)
    assert np.abs(got - expected.numpy()).max() < 1e-6 * width


def turned_keys(weight, bias, keys, heads):
    """(heads, grid^2, frames, dim / 2) complex keys, projected and turned by their places."""
    grid, dim = round(len(keys) ** 0.5), len(weight) // heads
    projected = torch.einsum("pfc,kc->pfk", double(keys), double(weight)) + double(bias)
    real, imaginary = projected.unflatten(-1, (heads, 2, dim // 2)).unbind(-2)
    frequency = 10000.0 ** -(torch.arange(0, dim // 2, 2).double() / (dim // 2))
    place = torch.arange(grid * grid)
    angles = torch.cat(
        [(place % grid)[:, None] * frequency, (place // grid)[:, None] * frequency], 1
    )
    turn = torch.polar(torch.ones_like(angles), angles)[:, None, None]
    return (torch.complex(real, imaginary) * turn).permute(2, 0, 1, 3)


@pytest.mark.parametrize("columns", [16, 32, 64])
def test_attention_by_places(kernels, columns):
    """The mean of the memory's values is that of projected and turned keys, however many columns of
    the grid are attended to together. tests/parity holds it against transformers."""
    width, heads, dim, grid, frames = 8, 2, 16, 64, 3
    weight, bias, q, keys, values = draw(
        5,
        (heads * dim, width),
        (heads * dim,),
        (70, heads * dim),
        (grid * grid, frames, width),
        (grid * grid, frames, width),
    )
    real, imaginary = double(q).unflatten(-1, (heads, 2, dim // 2)).unbind(-2)
    asked = torch.complex(real, imaginary)
    all_keys = turned_keys(weight, bias, keys, heads)
    scores = torch.einsum("qhi,hpfi->qhpf", asked, all_keys.conj()).real / dim**0.5
    shares = scores.flatten(2).softmax(-1)
    expected = torch.einsum("qhk,kc->qhc", shares, double(values).flatten(0, 1)).flatten(1).numpy()
    assert expected.std() > 0.1
    got = kernels.place_attention(weight, bias, q, keys, values, heads, columns)
    assert np.abs(got - expected).max() < 1e-5


@pytest.mark.parametrize("side", ["", "update", "both"])
@pytest.mark.parametrize(
    "keys, dim, heads, tokens, readers, range_",
    [
        (1, 16, 2, 1, 1, 64),
        (100, 48, 3, 5, 2, 64),
        (257, 32, 8, 7, 4, 128),
        (64, 256, 8, 9, 3, 64),
        (130, 24, 4, 8, 8, 64),
        (70, 20, 5, 17, 20, 64),
    ],
)
def test_two_way_sweep(kernels, keys, dim, heads, tokens, readers, range_, side):
    x, position, bias, values, gamma = draw(
        keys + tokens, (keys, dim), (keys, dim), (heads, tokens), (heads, tokens, dim), (dim,)
    )
    width = 3
    of_image, rows = (double(x) + double(position)).expand(heads, keys, dim), None
    (ask,) = draw(1, (heads, tokens, dim))
    if side:
        rows, ask = draw(2, (keys, heads * width), (tokens, heads * width))
        of_image = double(rows).view(keys, heads, width).permute(1, 0, 2)
    ask = ask / ask.shape[-1] ** 0.5
    # asked is (heads, tokens, width).
    asked = double(ask) if not side else double(ask).view(tokens, heads, width).permute(1, 0, 2)
    p = (of_image @ asked.mT + double(bias)[:, None]).softmax(2)  # (heads, keys, tokens)
    g = double(gamma)
    updated = torch.nn.functional.layer_norm(
        double(x) + (p @ double(values)).sum(0) + g, (dim,), g, g, 1e-5
    )
    of_image = (updated + double(position)).expand(heads, keys, dim)
    shown = updated.expand(heads, keys, dim)
    read_values = None
    (read,) = draw(3, (heads, readers, dim))
    if side == "both":
        read, read_values = draw(4, (readers, heads * width), (keys, heads * width))
        of_image, shown = (
            double(r).view(keys, heads, width).permute(1, 0, 2) for r in (rows, read_values)
        )
    read = read / read.shape[-1] ** 0.5
    reading = (
        double(read)
        if side != "both"
        else double(read).view(readers, heads, width).permute(1, 0, 2)
    )
    seen = (of_image @ reading.mT).softmax(1).mT @ shown  # (heads, readers, .)
    for precision, tolerance in (("fp32", 2e-5), ("bf16", 0.06)):
        got_keys, got_seen = kernels.two_way(
            x,
            position,
            ask,
            bias,
            values,
            gamma,
            read,
            readers,
            rows,
            read_values,
            range=range_,
            precision=precision,
        )
        assert np.abs(got_keys - updated.numpy()).max() < tolerance * max(
            1, np.abs(updated.numpy()).max()
        )
        # A column of a group also gathers sums that belong to the heads of its neighbours.
        for h in range(heads):
            first = h % (got_seen.shape[2] // width) * width if side == "both" else 0
            own = got_seen[h, :, first : first + seen.shape[2]]
            assert np.abs(own - seen[h].numpy()).max() < tolerance * 2


@pytest.mark.parametrize(
    "side, dim, first, rows", [(1, 8, 0, 1), (7, 32, 0, 49), (14, 32, 60, 64), (24, 16, 500, 76)]
)
def test_attention_with_a_bias_for_every_pair(kernels, side, dim, first, rows):
    q, k, v, bias = draw(
        side, (side * side, dim), (side * side, dim), (side * side, dim), (side * side, side * side)
    )
    scores = (
        0.5 * double(q)[first : first + rows] @ double(k).T + double(bias)[first : first + rows]
    )
    expected = (scores.softmax(1) @ double(v)).numpy()
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.05)):
        got = kernels.attention(
            q, k, v, (side, side), first=first, rows=rows, precision=precision, bias=bias
        )
        assert np.abs(got - expected).max() < tolerance


@pytest.mark.parametrize(
    "h, w, dim, masks", [(1, 1, 32, 1), (3, 5, 64, 3), (4, 7, 36, 4), (2, 64, 256, 16)]
)
def test_upscale(kernels, h, w, dim, masks):
    c1, c2 = dim // 4, max(1, dim // 8)
    keys, w1, b1, gamma, beta, w2, b2, hyper = draw(
        h * w,
        (h * w, dim),
        (dim, c1, 2, 2),
        (c1,),
        (c1,),
        (c1,),
        (c1, c2, 2, 2),
        (c2,),
        (masks, c2),
    )
    x = torch.nn.functional.conv_transpose2d(
        double(keys).T.view(1, dim, h, w), double(w1), double(b1), 2
    )
    x = torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (c1,), double(gamma), double(beta), 1e-6
    ).permute(0, 3, 1, 2)
    x = torch.nn.functional.gelu(
        torch.nn.functional.conv_transpose2d(torch.nn.functional.gelu(x), double(w2), double(b2), 2)
    )
    expected = (double(hyper) @ x[0].reshape(c2, -1)).view(masks, 4 * h, 4 * w).numpy()
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.03)):
        got = kernels.upscale(keys, w, w1, b1, gamma, beta, w2, b2, hyper, precision=precision)
        assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("h, w, dim, masks", [(1, 1, 32, 1), (3, 5, 64, 3), (2, 64, 256, 4)])
def test_upscale_with_high_resolution_features(kernels, h, w, dim, masks):
    c1, c2 = dim // 4, dim // 8
    keys, w1, b1, gamma, beta, w2, b2, hyper, half, quarter = draw(
        h * w,
        (h * w, dim),
        (dim, c1, 2, 2),
        (c1,),
        (c1,),
        (c1,),
        (c1, c2, 2, 2),
        (c2,),
        (masks, c2),
        (4 * h * w, c1),
        (16 * h * w, c2),
    )
    x = torch.nn.functional.conv_transpose2d(
        double(keys).T.view(1, dim, h, w), double(w1), double(b1), 2
    )
    x = x + double(half).T.view(1, c1, 2 * h, 2 * w)
    x = torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (c1,), double(gamma), double(beta), 1e-6
    ).permute(0, 3, 1, 2)
    x = torch.nn.functional.conv_transpose2d(torch.nn.functional.gelu(x), double(w2), double(b2), 2)
    x = torch.nn.functional.gelu(x + double(quarter).T.view(1, c2, 4 * h, 4 * w))
    expected = (double(hyper) @ x[0].reshape(c2, -1)).view(masks, 4 * h, 4 * w).numpy()
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.03)):
        got = kernels.upscale(
            keys,
            w,
            w1,
            b1,
            gamma,
            beta,
            w2,
            b2,
            hyper,
            precision=precision,
            features=[half, quarter],
        )
        assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()
