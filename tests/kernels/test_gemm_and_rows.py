"""Every implementation of gemm and rows against float64, on odd shapes."""

import numpy as np
import pytest
import torch

ODD = [(1, 1, 1), (1, 64, 64), (3, 5, 7), (64, 64, 64), (65, 63, 130), (17, 129, 1025), (130, 1, 300), (2, 200, 2049)]


def close(got, expected, scale):
    return np.abs(got - expected).max() <= 2e-6 * scale


@pytest.mark.parametrize("m, n, k", ODD)
def test_matmul(kernels, m, n, k):
    rng = np.random.default_rng(m * n + k)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    assert close(kernels.matmul(a, b), a.astype(np.float64) @ b, k**0.5 * 4)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("m, n, k", ODD)
def test_linear(kernels, m, n, k, gelu):
    rng = np.random.default_rng(m + n * k)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (n, k), (n,)))
    expected = torch.nn.functional.linear(*(torch.from_numpy(v).double() for v in (x, w, b)))
    if gelu:
        expected = torch.nn.functional.gelu(expected)
    assert close(kernels.linear(x, w, b, gelu), expected.numpy(), k**0.5 * 4)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 100, 1000])
def test_rows(kernels, n):
    rng = np.random.default_rng(n)
    x = (rng.normal(size=n) * 4).astype(np.float32)
    t = torch.from_numpy(x).double()
    assert np.abs(kernels.gelu(x) - torch.nn.functional.gelu(t).numpy()).max() < 2e-6
    gamma, beta = rng.normal(size=(2, n)).astype(np.float32)
    norm = torch.nn.functional.layer_norm(t, (n,), torch.from_numpy(gamma).double(), torch.from_numpy(beta).double(), 1e-6)
    if n > 1:
        assert np.abs(kernels.layer_norm(x, gamma, beta, 1e-6) - norm.numpy()).max() < 1e-5
    table = (rng.normal(size=(7, n)) * 9).astype(np.float32)
    soft = torch.softmax(torch.from_numpy(table).double(), 0).numpy()
    assert np.abs(kernels.softmax_strided(table.ravel(), 7, n).reshape(7, n) - soft).max() < 1e-6


def test_extremes_of_the_exponential(kernels):
    x = np.array([[0, 0, 200, -200, 88, 0], [-120, 500, 0, 0, 0, np.nan]], np.float32)
    got = kernels.softmax_strided(x.ravel(), 2, 6).reshape(2, 6)
    assert np.allclose(got[:, :5], torch.softmax(torch.from_numpy(x[:, :5]), 0).numpy(), atol=1e-6)
    assert np.isnan(got[:, 5]).any(), "NaN must not become a probability"
