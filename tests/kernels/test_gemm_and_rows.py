"""Every implementation of gemm and rows against float64 on odd shapes."""

import numpy as np
import pytest
import segrid
import torch
from segrid import _core

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
INT8 = pytest.mark.parametrize(
    "kernels", ["auto", "gemm_int8=brgemm", "gemm_int8=avxvnni", "avx2", "plain"], indirect=True
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


def quantised_row(x):
    """(q, scale, zero): the row in u8 with the finest scale that holds the row and 0, computed in
    float32 as documented."""
    low, high = np.float32(min(x.min(), 0)), np.float32(max(x.max(), 0))
    scale = np.float32((high - low) / np.float32(255)) if high > low else np.float32(1)
    zero = int(np.rint(-low / scale)) if high > low else 0
    return (
        np.clip(np.rint(x * (np.float32(1) / scale)).astype(np.int64) + zero, 0, 255),
        scale,
        zero,
    )


def sums_in_16_bits(values):
    """(n, 2, ...) of [n, k]: the positive and the negative sums of the four values that the
    instruction for bytes adds up: rows 0 1 4 5 and rows 2 3 6 7 of every eight."""
    n, k = values.shape
    eights = np.pad(values, ((0, 0), (0, -k % 8))).reshape(n, -1, 2, 2, 2)  # [word, half, pair]
    fours = eights.transpose(0, 1, 3, 2, 4).reshape(n, -1, 4)
    return np.stack([np.maximum(fours, 0).sum(-1), np.maximum(-fours, 0).sum(-1)], axis=1)


def restored(w, narrow=None):
    """The weight as int8 keeps it, in float64. narrow: whether its sums shall fit into 16 bits, as
    they do on a CPU without VNNI."""
    narrow = _core.int8_is_narrow() if narrow is None else narrow
    finest = np.abs(w).max(axis=1, keepdims=True) / np.float32(127)
    finest[finest == 0] = 1
    restored = np.rint(w / finest).astype(np.float64) * finest
    for row in range(len(w) if narrow else 0):
        for limit in (128, 127, 126):
            scale = max(finest[row, 0], sums_in_16_bits(w[row : row + 1]).max() / np.float32(limit))
            values = np.rint(w[row : row + 1] / scale).astype(np.float64)
            if sums_in_16_bits(values).max() <= 128:
                break
        restored[row] = values * np.float64(scale)
    return restored


def int8_product(x, weight):
    """The product of rows that were quantised and restored with a weight, in float64."""
    rows = [(q - zero) * np.float64(scale) for q, scale, zero in map(quantised_row, x)]
    return np.array(rows) @ weight.T


@INT8
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("m, n, k", [*ODD, (13, 65, 512), (70, 33, 515)])
def test_int8_linear(kernels, m, n, k, gelu):
    """The integers are those of the definition; only fp32's rounding differs."""
    rng = np.random.default_rng(m + n * k)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (n, k), (n,)))
    x[0] = 0
    x[-1] = np.abs(x[-1])  # The row has no negative number, so its zero point is 0.
    expected = torch.from_numpy(int8_product(x, restored(w)) + b)
    expected = (torch.nn.functional.gelu(expected) if gelu else expected).numpy()
    assert close(kernels.linear(x, w, b, gelu, "int8"), expected, k**0.5 * 4)
    exact = x.astype(np.float64) @ w.T + b
    if not gelu and k > 60 and m > 1:
        assert 0 < np.abs(expected - exact).mean() < 0.02 * np.abs(exact).mean()


@INT8
@pytest.mark.parametrize("k", [100, 512, 1024, 1300])
def test_int8_in_parts(kernels, k):
    """The inner dimension goes in parts, each with its own scales."""
    rng = np.random.default_rng(k)
    x, w = rng.normal(size=(20, k)).astype(np.float32), rng.normal(size=(70, k)).astype(np.float32)
    got = kernels.linear_in_parts(x, w, "int8", 512)
    weight = restored(w)
    parts = [int8_product(x[:, j : j + 512], weight[:, j : j + 512]) for j in range(0, k, 512)]
    assert close(got, sum(parts), k**0.5 * 4)


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


@pytest.mark.parametrize("n", [1, 7, 16, 31, 32, 33, 64, 100, 768])
def test_quantise_row(kernels, n):
    rng = np.random.default_rng(n)
    for x in (
        rng.normal(size=n),
        np.abs(rng.normal(size=n)) + 3,
        -np.abs(rng.normal(size=n)),
        np.zeros(n),
        1e-30 * rng.normal(size=n),
        1e30 * rng.normal(size=n),
    ):
        x = x.astype(np.float32)
        finite, q, scale, zero = kernels.quantise_row(x)
        expected = quantised_row(x)
        assert finite and np.array_equal(q, expected[0]) and (scale, zero) == expected[1:]
        assert (
            np.abs((q.astype(np.float64) - zero) * scale - x).max() <= 0.5001 * scale or not x.any()
        )
    for poison in (np.nan, np.inf, -np.inf):
        for at in {0, n // 2, n - 1}:
            bad = rng.normal(size=n).astype(np.float32)
            bad[at] = poison
            assert not kernels.quantise_row(bad)[0]
    # The range of the row is not finite.
    assert not kernels.quantise_row(np.array([3e38, -3e38] * n, np.float32))[0]


def test_int8_names_the_weight_that_met_nan(kernels):
    x = np.ones((3, 8), np.float32)
    x[1, 5] = np.nan
    with pytest.raises(segrid.CorruptFileError, match="int8: .* weight .*NaN or Inf"):
        kernels.linear(x, np.ones((4, 8), np.float32), np.zeros(4, np.float32), False, "int8")


@INT8
@pytest.mark.parametrize("precision", ["int8", "int8-torch"])
def test_no_product_saturates(kernels, precision):
    """The largest activations meet the largest weights of both signs. Sums of two such products do
    not fit into 16 bits."""
    rows, outputs, depth = 33, 70, 1024
    x = np.ones((rows, depth), np.float32)
    signs = np.where(np.arange(outputs)[:, None] % 2 == 0, 1, -1) * np.ones((1, depth))
    got = kernels.linear(
        x, signs.astype(np.float32), np.zeros(outputs, np.float32), False, precision
    )
    assert np.abs(got - depth * signs[:, 0]).max() < 0.01 * depth


@INT8
@pytest.mark.parametrize("depth", [4, 8, 20, 516, 2048])
@pytest.mark.parametrize("limit", [127, 32])
def test_integer_sums_are_exact(kernels, depth, limit):
    """Values of a quantised weight up to their limits: 127, and 32, whose sums of four just fit
    into 16 bits. Some columns have all the same sign and meet the largest activations."""
    rng = np.random.default_rng(depth)
    values = rng.integers(-limit, limit + 1, (200, depth)).astype(np.int8)
    values[:20], values[20:40] = limit, -limit
    x = rng.integers(0, 256, (67, depth)).astype(np.float32)
    x[:, 0], x[:5] = 255, 255  # The scale of every row is 1.
    got = kernels.linear_quantised(x, values, np.ones(200, np.float32))
    expected = (x.astype(np.int64) @ values.T.astype(np.int64)).astype(np.float32)
    assert np.array_equal(got, expected)


def test_which_panels_are_narrow(kernels):
    """Rows 0 1 4 5 of every eight are added up in 16 bits, and so are 2 3 6 7."""
    x = np.full((5, 8), 255, np.float32)
    for sign in (1, -1):
        for row, fits in (
            ([32] * 8, True),
            ([33] * 8, False),
            ([64, 64, 0, 0, 0, 0, 64, 64], True),
            ([64, 64, 0, 0, 64, 64, 0, 0], False),
            ([127, 1, 0, 0, 0, 0, 127, 1], True),
            ([127, 1, 0, 0, 1, 0, 0, 0], False),
        ):
            values = (sign * np.array([row])).astype(np.int8)
            assert kernels.is_narrow(values) == fits, row
            got = kernels.linear_quantised(x, values, np.ones(1, np.float32))
            assert (got == sign * 255 * sum(row)).all()


@pytest.mark.parametrize("k", [1, 7, 768, 1027])
def test_narrow_weights(kernels, k):
    """Their sums fit into 16 bits, and their scales are no coarser than that needs."""
    rng = np.random.default_rng(k)
    w = rng.standard_t(4, (50, k)).astype(np.float32)
    values, scales = kernels.quantise(w, True)
    assert sums_in_16_bits(values.astype(np.int64)).max() <= 128
    assert np.abs(values * scales[:, None] - restored(w, narrow=True)).max() < 1e-5
    wide, coarse = kernels.quantise(w, False)
    assert np.abs(wide).max(1).min() == 127 and (coarse <= scales).all()
    assert np.abs(wide * coarse[:, None] - restored(w, narrow=False)).max() < 1e-5


@pytest.mark.parametrize("m, n, k", ODD[3:])
def test_the_baseline_is_libtorchs(kernels, m, n, k):
    """int8-torch is torch's quantized::linear_dynamic. Activations have 7 bits where the CPU has no
    VNNI (reduce_range)."""
    rng = np.random.default_rng(n)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (n, k), (n,)))
    scales = torch.from_numpy(np.abs(w).max(axis=1) / np.float32(127)).double()
    packed = torch.ops.quantized.linear_prepack(
        torch.quantize_per_channel(
            torch.from_numpy(w), scales, torch.zeros(n, dtype=torch.long), 0, torch.qint8
        ),
        None,
    )
    reduce_range = not _core.cpu_features()["avx512_vnni"]
    expected = (
        torch.ops.quantized.linear_dynamic(
            torch.from_numpy(x), packed, reduce_range=reduce_range
        ).numpy()
        + b
    )
    assert (
        np.abs(kernels.linear(x, w, b, False, "int8-torch") - expected).max()
        < 1e-5 * np.abs(expected).max()
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
    assert (
        np.abs(kernels.blend_row(0.3, x, -2.0, bias) - (np.float32(0.3) * x - 2 * bias)).max()
        < 1e-6 * np.abs(x).max()
    )
    turns = rng.normal(size=n).astype(np.float32)
    turned = np.concatenate([x, bias])
    got = kernels.turn_row(np.cos(turns), np.sin(turns), turned)
    expected = (x + 1j * bias) * np.exp(1j * turns.astype(np.float64))
    assert np.abs(got - np.concatenate([expected.real, expected.imag])).max() < 1e-5
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
    apart = np.abs(kernels.gelu(x)[:-2] - expected[:-2])
    size = np.abs(x[:-2])
    assert (apart < 2.4e-7 * np.clip(size, 1, 6))[size < 6].all()
    assert (apart <= 2.4e-7 * np.abs(expected[:-2]) + 1e-7)[size >= 6].all()
    assert np.allclose(kernels.gelu(x)[-2:], expected[-2:], rtol=1e-6, atol=1e32)
    assert np.isnan(kernels.gelu(np.full(17, np.nan, np.float32))).all()
