"""The kernels of attention on odd shapes against the formulas of their headers, computed by
torch in float64."""

import numpy as np
import pytest
import torch
from segrid import _core

from tests.kernels.arrays import double, draw


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
