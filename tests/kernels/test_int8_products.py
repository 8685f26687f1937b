"""Products in int8: every implementation against integers and float64."""

import numpy as np
import pytest
import segrid
import torch
from segrid import _core

from tests.kernels.test_gemm_and_rows import ODD, close

INT8 = pytest.mark.parametrize(
    "kernels", ["auto", "gemm_int8=brgemm", "gemm_int8=avxvnni", "avx2", "plain"], indirect=True
)


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
def test_narrow_weights(k):
    """Their sums fit into 16 bits, and their scales are no coarser than that needs."""
    rng = np.random.default_rng(k)
    w = rng.standard_t(4, (50, k)).astype(np.float32)
    values, scales = _core.quantise(w, True)
    assert sums_in_16_bits(values.astype(np.int64)).max() <= 128
    assert np.abs(values * scales[:, None] - restored(w, narrow=True)).max() < 1e-5
    wide, coarse = _core.quantise(w, False)
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
