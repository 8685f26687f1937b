"""Images of more or fewer than 8 bits become 8 bits without copies of the whole picture."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from segrid.image_files.eight_bits import mapped, stretched
from segrid.image_files.tiff_colour import _full_range

from tests.reference.tiff import percentiles

SIZE = (2000, 4000, 3)
VALUES = np.random.default_rng(0).integers(0, 16, SIZE, np.uint8)
MOST = 70_000_000  # Bytes: the result takes 24 million, a copy in float64 would take 192 million.


def bounded(work):
    tracemalloc.start()
    try:
        result = work()
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    return result


@pytest.mark.parametrize(
    "kind, bits", [("bool", 1), ("uint8", 4), ("uint16", 16), ("uint32", 24), ("float32", 32)]
)
def test_the_full_range(kind, bits):
    values = (VALUES > 7 if kind == "bool" else VALUES).astype(kind)
    if kind == "float32":
        values /= 15
    most = 1 if kind in ("bool", "float32") else 2**bits - 1
    page = SimpleNamespace(bitspersample=bits)
    wanted = np.rint(values[:9].astype(np.float64) * (255 / most)).astype(np.uint8)
    assert np.array_equal(bounded(lambda: _full_range(values, page))[:9], wanted)


@pytest.mark.parametrize("kind", ["int8", "uint16", "int16", "float16", "uint32", "float32"])
@pytest.mark.parametrize("shape", [SIZE, (1, 8_000_000, 3)], ids=str)
def test_any_rule(kind, shape):
    values = VALUES.reshape(shape).astype(kind)

    def rule(some):
        return (some.astype(np.float64) * 3 + 1).astype(np.uint8)

    with np.errstate(invalid="ignore"):
        assert np.array_equal(bounded(lambda: mapped(values, rule)), VALUES.reshape(shape) * 3 + 1)


@pytest.mark.parametrize("kind", ["int8", "uint16", "int16", "float16", "uint32", "int64"])
def test_percentiles_of_channels_and_of_what_counts(kind):
    values = VALUES[:50, :40].astype(kind) + np.array([0, 1, 0], kind)
    ignored = VALUES[:50, :40] == 3
    apart = np.stack([percentiles(values[..., c], ~ignored[..., c]) for c in range(3)], axis=-1)
    assert np.array_equal(stretched(values, together=False, ignored=ignored), apart)
    assert np.array_equal(
        stretched(values, together=True, ignored=ignored), percentiles(values, ~ignored)
    )
