"""Every implementation of gemm (in fp32 and bf16) and of rows against float64 on odd shapes."""

import numpy as np
import pytest
import torch

ODD = [
    (1, 1, 1),
    (1, 64, 64),
    (3, 5, 7),
    (64, 64, 64),
    (65, 63, 130),
    (17, 129, 1025),
    (130, 1, 300),
    (2, 200, 2049),
]


def rounded(x):
    """Rounded to bf16 by torch, as float32."""
    return torch.from_numpy(x).bfloat16().float().numpy()


def close(got, expected, scale):
    return np.abs(got - expected).max() <= 2e-6 * scale


BF16 = pytest.mark.parametrize(
    "kernels", ["auto", "gemm_bf16=brgemm", "avx2", "plain"], indirect=True
)


@BF16
@pytest.mark.parametrize("m, n, k", [*ODD, (29, 47, 66), (13, 18, 34)])
def test_matmul(kernels, m, n, k):
    rng = np.random.default_rng(m * n + k)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    assert close(kernels.matmul(a, b), a.astype(np.float64) @ b, k**0.5 * 4)
    assert close(
        kernels.matmul(a, b, "bf16"), rounded(a).astype(np.float64) @ rounded(b), k**0.5 * 4
    )


@BF16
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("m, n, k", ODD)
def test_linear(kernels, m, n, k, gelu):
    rng = np.random.default_rng(m + n * k)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (n, k), (n,)))
    expected = torch.nn.functional.linear(*(torch.from_numpy(v).double() for v in (x, w, b)))
    if gelu:
        expected = torch.nn.functional.gelu(expected)
    assert close(kernels.linear(x, w, b, gelu), expected.numpy(), k**0.5 * 4)
    low = torch.nn.functional.linear(
        torch.from_numpy(rounded(x)).double(), torch.from_numpy(rounded(w)).double()
    )
    assert close(kernels.linear_in_parts(x, w, "bf16", 64), low.numpy(), k**0.5 * 4)
    low = low + torch.from_numpy(b).double()
    low = torch.nn.functional.gelu(low) if gelu else low
    assert close(kernels.linear(x, w, b, gelu, "bf16"), low.numpy(), k**0.5 * 4)


@pytest.mark.parametrize(
    "kernels", ["auto", "gemm_int8=brgemm", "gemm_int8=avxvnni", "avx2", "plain"], indirect=True
)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("m", [1, 64, 131])
def test_columns_in_parts_of_prepared_rows(kernels, precision, m):
    rng = np.random.default_rng(m)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((m, 101), (200, 101), (200,)))
    whole = kernels.linear(x, w, b, False, precision)
    onto = rng.normal(size=(m, 200)).astype(np.float32)
    assert np.array_equal(kernels.linear_by_columns(x, w, b, precision, 128), whole)
    assert close(
        kernels.linear_by_columns(x, w, b, precision, 128, onto),
        whole.astype(np.float64) + onto,
        40,
    )


@pytest.mark.parametrize("n", [1, 15, 16, 17, 100, 1000])
def test_rows(kernels, n):
    rng = np.random.default_rng(n)
    x = (rng.normal(size=n) * 4).astype(np.float32)
    t = torch.from_numpy(x).double()
    assert np.abs(kernels.gelu(x) - torch.nn.functional.gelu(t).numpy()).max() < 2e-6
    gamma, beta = rng.normal(size=(2, n)).astype(np.float32)
    norm = torch.nn.functional.layer_norm(
        t, (n,), torch.from_numpy(gamma).double(), torch.from_numpy(beta).double(), 1e-6
    )
    if n > 1:
        assert np.abs(kernels.layer_norm(x, gamma, beta, 1e-6) - norm.numpy()).max() < 1e-5
    bias, residual = rng.normal(size=(2, n)).astype(np.float32)
    if n > 1:
        norm = torch.nn.functional.layer_norm(
            t + torch.from_numpy(bias) + torch.from_numpy(residual),
            (n,),
            torch.from_numpy(gamma).double(),
            torch.from_numpy(beta).double(),
            1e-6,
        )
        assert (
            np.abs(kernels.residual_norm(x, bias, residual, gamma, beta, 1e-6) - norm.numpy()).max()
            < 1e-5
        )
    sums = [
        (kernels.multiply(gamma, x), t * gamma),
        (kernels.multiply_add(gamma, bias, x), t + torch.from_numpy(gamma).double() * bias),
        (kernels.scale_add(0.3, x, bias), np.float32(0.3) * t + bias),
    ]
    for got, expected in sums:
        assert np.abs(got - expected.numpy()).max() <= 2e-7 * (1 + expected.abs().max())
    assert (
        np.abs(kernels.blend_row(0.3, x, -2.0, bias) - (np.float32(0.3) * x - 2 * bias)).max()
        < 1e-6 * np.abs(x).max()
    )
    turns = rng.normal(size=n).astype(np.float32)
    turned = np.concatenate([x, bias])
    got = kernels.turn_row(np.cos(turns), np.sin(turns), turned)
    expected = (x + 1j * bias) * np.exp(1j * turns.astype(np.float64))
    assert np.abs(got - np.concatenate([expected.real, expected.imag])).max() < 1e-5
    rows = np.stack([turned, -turned, turned[::-1]])
    expected = (rows[:, :n] + 1j * rows[:, n:]) * (x + 1j * turns)
    got = kernels.turn_rows(x, turns, rows)
    assert np.abs(got - np.concatenate([expected.real, expected.imag], 1)).max() < 1e-5 * max(
        1, np.abs(expected).max()
    )
    assert np.array_equal(
        kernels.to_bf16(x), torch.from_numpy(x).bfloat16().view(torch.uint16).numpy()
    )
    pairs = np.stack([x, bias], axis=1).ravel()
    assert np.array_equal(
        kernels.pair_bf16(x, bias), torch.from_numpy(pairs).bfloat16().view(torch.uint16).numpy()
    )
    assert not kernels.pair_bf16(x, None)[1::2].any()


@pytest.mark.parametrize("rows, columns", [(1, 1), (16, 16), (17, 33), (5, 64), (64, 7), (100, 31)])
def test_transpose(kernels, rows, columns):
    x = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    assert np.array_equal(kernels.transpose(x), x.T)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    "groups, size",
    [
        (1, 1),
        (5, 1),
        (7, 2),
        (5, 4),
        (8, 8),
        (3, 8),
        (2, 16),
        (3, 16),
        (4, 7),
        (3, 17),
        (2, 48),
        (1, 100),
    ],
)
def test_softmax_groups(kernels, groups, size, biased):
    rng = np.random.default_rng(groups * size)
    x = (rng.normal(size=(groups, size)) * 9).astype(np.float32)
    bias = (
        rng.normal(size=(groups, size)).astype(np.float32)
        if biased
        else np.zeros((groups, size), np.float32)
    )
    bias[:, size // 2 + 1 :] = -np.inf if biased else 0  # The padding of a head looks like this.
    expected = torch.softmax(
        torch.from_numpy(x).double() + torch.from_numpy(bias).double(), 1
    ).numpy()
    got = kernels.softmax_groups(x.ravel(), size, bias.ravel() if biased else None).reshape(
        groups, size
    )
    assert np.abs(got - expected).max() < 1e-6
    assert not biased or (got[:, size // 2 + 1 :] == 0).all()


@pytest.mark.parametrize("n", [1, 16, 31, 128, 150])
def test_running_power_row(kernels, n):
    """Block by block the result equals that over the whole row; each power is within one step of
    bf16."""
    s = (np.random.default_rng(n).normal(size=(4, n)) * 9).astype(np.float32)
    s[1] -= 40
    s[2] += 30  # The maximum is raised only by more than 32.
    s[3] += 120
    best, total, powers = float("-inf"), 0.0, np.zeros((0, n))
    for row in s:
        before = best
        out, best, total, factor = kernels.running_power_row(row, best, total)
        assert best == (before if row.max() <= before + 32 else row.max()) and np.isclose(
            factor, 2 ** (np.float64(before) - best), rtol=1e-5
        )
        powers = np.concatenate(
            [powers * factor, torch.from_numpy(out).view(torch.bfloat16).double().numpy()[None]]
        )
    expected = 2 ** (s.astype(np.float64) - best)
    assert abs(total - powers.sum()) < 1e-6 * total  # The total is that of the rounded powers.
    np.testing.assert_allclose(powers, expected, rtol=2.0**-8)
    out, best, total, factor = kernels.running_power_row(
        np.array([1, np.nan, -300, -np.inf], np.float32), 1.0, 2.0
    )
    assert factor == 1 and np.isnan(total) and out[0] == 0x3F80 and not out[2:].any()


def test_powers_everywhere(kernels):
    """Powers are accurate to 4e-6, so that few are rounded to the other neighbour."""
    s = np.concatenate([[0], -np.random.default_rng(0).uniform(0, 30, 400_000)]).astype(np.float32)
    out = kernels.running_power_row(s, float("-inf"), 0.0)[0]
    steps = (
        out.astype(int)
        - torch.from_numpy(2 ** s.astype(np.float64)).bfloat16().view(torch.uint16).numpy()
    )
    assert np.mean(steps != 0) < 5e-4 and np.abs(steps).max() <= 1


@pytest.mark.parametrize("size", [2, 4, 6, 8, 16])
def test_extremes_of_the_exponential(kernels, size):
    x = np.array([[0, 0, -200, 0, 88, 0], [200, -200, 0, 0, 0, np.nan]] * 4, np.float32)
    got = kernels.softmax_groups(x.ravel(), size).reshape(-1, size)
    expected = torch.softmax(torch.from_numpy(x).reshape(-1, size), 1).numpy()
    clean = ~np.isnan(expected).any(1)
    assert np.allclose(got[clean], expected[clean], atol=1e-6)
    assert np.isnan(got[~clean]).any(1).all(), "NaN must not become a probability"


def test_quick_gelu_everywhere(kernels):
    x = np.concatenate([np.linspace(-60, 60, 200_001), [0.0, -0.0, 1e-30, 3e38, -3e38]]).astype(
        np.float32
    )
    exact = x.astype(np.float64) / (1 + np.exp(np.clip(-1.702 * x.astype(np.float64), -700, 700)))
    assert np.abs(kernels.quick_gelu(x)[:-2] - exact[:-2]).max() < 4e-6
    assert kernels.quick_gelu(x)[-2] == x[-2] and abs(kernels.quick_gelu(x)[-1]) < 1e-30
    assert np.isnan(kernels.quick_gelu(np.full(17, np.nan, np.float32))).all()


def test_gelu_everywhere(kernels):
    x = np.concatenate([np.linspace(-12, 12, 200_001), [0.0, -0.0, 1e-30, 3e38, -3e38]]).astype(
        np.float32
    )
    expected = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    assert np.abs(kernels.gelu(x)[:-2] - expected[:-2]).max() < 6e-7
    assert np.allclose(kernels.gelu(x)[-2:], expected[-2:], rtol=1e-6, atol=1e32)
    assert np.isnan(kernels.gelu(np.full(17, np.nan, np.float32))).all()
