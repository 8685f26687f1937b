"""The streaming scan against two dense resizes, computed by NumPy and by torch."""

import numpy as np
import pytest

from tests.reference import masks as ref
from tests.reference.resize import bilinear, sam_upsample

# (low-res, side, resized, crop)
SHAPES = [
    ((64, 64), 256, (171, 256), (300, 450)),
    ((64, 64), 256, (256, 130), (97, 49)),
    ((64, 64), 256, (256, 3), (1000, 12)),
    ((16, 16), 64, (64, 64), (1, 1)),
    ((64, 64), 256, (1, 256), (1, 700)),
    ((256, 256), 1024, (683, 1024), (120, 180)),
]


def logits(kind: str, size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(sum(map(ord, kind)) + sum(size))
    y, x = np.mgrid[: size[0], : size[1]]
    away = np.hypot(y - 0.4 * size[0], x - 0.6 * size[1])
    shape = {
        "noise": rng.normal(0, 4, size),
        "blob": 0.3 * min(size) - away,
        "ring": 3 - abs(0.3 * min(size) - away),
        "full": np.full(size, 20.0),
        "empty": np.full(size, -20.0),
    }[kind]
    return (shape + rng.normal(0, 0.3, size)).astype(np.float32)


def check(got: dict, values: np.ndarray, threshold: float, offset: float, slack: float = 1e-4):
    unsure = abs(values - threshold) < slack
    assert np.array_equal(got["mask"] | unsure, (values > threshold) | unsure)
    for key, level in (
        ("above", threshold + offset),
        ("below", threshold - offset),
        ("area", threshold),
    ):
        assert abs(got[key] - (values > level).sum()) <= (abs(values - level) < slack).sum()
    assert got["area"] == got["mask"].sum()
    assert got["box"] == ref.inclusive_box(got["mask"])
    assert got["runs"] == ref.runs(got["mask"])
    expected = (
        np.float32(got["above"]) / np.float32(got["below"]) if got["below"] else np.float32(0)
    )
    assert np.float32(got["stability"]) == expected


@pytest.mark.parametrize("kind", ["noise", "blob", "ring", "full", "empty"])
@pytest.mark.parametrize("shape", SHAPES)
def test_two_steps(kernels, each_kernel, shape, kind):
    low, side, resized, crop = shape
    values = logits(kind, low)
    check(
        kernels.scan(values, side, resized, crop),
        sam_upsample(values, side, resized, crop),
        0.0,
        1.0,
    )


@pytest.mark.parametrize("threshold, offset", [(0.0, 1.0), (0.7, 0.0), (-2.0, 0.95)])
@pytest.mark.parametrize(
    "low, crop", [((64, 64), (200, 333)), ((37, 41), (90, 64)), ((1, 1), (5, 70)), ((5, 3), (3, 2))]
)
def test_one_step(kernels, each_kernel, low, crop, threshold, offset):
    values = logits("noise", low)
    got = kernels.scan(values, 0, (0, 0), crop, threshold, offset)
    check(got, bilinear(values, crop), threshold, offset)


@pytest.mark.parametrize("shape", SHAPES)
def test_same_as_torch(kernels, shape):
    torch = pytest.importorskip("torch")
    interpolate = torch.nn.functional.interpolate
    low, side, resized, crop = shape
    for kind in ("noise", "blob"):
        values = logits(kind, low)
        up = interpolate(
            torch.from_numpy(values)[None, None], (side, side), mode="bilinear", align_corners=False
        )
        up = interpolate(
            up[..., : resized[0], : resized[1]], crop, mode="bilinear", align_corners=False
        )[0, 0].numpy()
        check(kernels.scan(values, side, resized, crop), up, 0.0, 1.0)


def test_stability_as_segment_anything(kernels, amg):
    torch = pytest.importorskip("torch")
    for kind in ("noise", "blob", "full"):
        values = logits(kind, (64, 64))
        got = kernels.scan(values, 0, (0, 0), (64, 64))  # The resize is the identity.
        assert got["stability"] == float(
            amg.calculate_stability_score(torch.from_numpy(values)[None], 0.0, 1.0)[0]
        )


def test_edges_keep_their_weight(kernels):
    """Outputs beyond the last sample repeat it, as in torch, so that a constant stays the same up
    to every edge."""
    got = kernels.scan(np.full((16, 16), 1.01, np.float32), 64, (43, 64), (75, 112))
    assert got["above"] == got["area"] == 75 * 112


def test_all_implementations_have_the_same_bits(kernels):
    from segrid import _core

    for low, side, resized, crop in SHAPES:
        for kind in ("noise", "blob", "ring"):
            values = logits(kind, low)
            results = []
            for name in ("plain", "auto"):
                _core.force_kernels(name)
                results.append(kernels.scan(values, side, resized, crop))
            _core.force_kernels("auto")
            assert all(np.array_equal(results[0][key], results[1][key]) for key in results[0])


def test_row_24_empty_and_all_true(kernels, each_kernel):
    empty = kernels.scan(np.full((64, 64), -5, np.float32), 256, (256, 171), (90, 60))
    assert (
        empty["area"] == 0
        and empty["box"] == [0, 0, 0, 0]
        and empty["runs"] == []
        and empty["stability"] == 0
    )
    full = kernels.scan(np.full((64, 64), 5, np.float32), 256, (256, 171), (90, 60))
    assert (
        full["area"] == 90 * 60
        and full["box"] == [0, 0, 59, 89]
        and full["runs"] == [(0, 5400)]
        and full["stability"] == 1
    )
