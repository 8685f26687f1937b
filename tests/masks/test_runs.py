"""Runs and COCO RLE against NumPy, pycocotools and segment-anything's definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from tests.reference import masks as ref

sizes = st.tuples(st.integers(1, 40), st.integers(1, 90))


@st.composite
def bitmaps(draw, size=None):
    """Noise, or a few rectangles, which give long runs that touch the edges."""
    size = size or draw(sizes)
    if draw(st.booleans()):
        return draw(hnp.arrays(np.bool_, size))
    mask = np.zeros(size, bool)
    for _ in range(draw(st.integers(0, 4))):
        y0, x0 = draw(st.integers(0, size[0])), draw(st.integers(0, size[1]))
        y1, x1 = draw(st.integers(y0, size[0])), draw(st.integers(x0, size[1]))
        mask[y0:y1, x0:x1] ^= True
    return mask


pairs = sizes.flatmap(lambda size: st.tuples(bitmaps(size), bitmaps(size)))


@given(bitmaps())
@settings(deadline=None)
def test_coco_round_trip(kernels, mask):
    counts = kernels.coco_counts(mask)
    assert counts == ref.counts(mask)
    assert np.array_equal(kernels.from_coco_counts(counts, mask.shape), mask)
    compressed = kernels.compress(counts)
    assert compressed == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert (
        compressed
        == coco.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)["counts"]
    )
    assert kernels.decompress(compressed) == counts
    assert np.array_equal(
        coco.decode({"size": list(mask.shape), "counts": compressed}).astype(bool), mask
    )


@given(bitmaps())
@settings(deadline=None)
def test_canonical(kernels, mask):
    assert kernels.runs(mask) == ref.runs(mask)
    assert kernels.inclusive_box(mask) == ref.inclusive_box(mask)


@given(pairs)
@settings(deadline=None)
def test_intersection(kernels, masks):
    a, b = masks
    assert kernels.intersection(a, b) == kernels.intersection(b, a) == (a & b).sum()
    assert kernels.intersection(a, a) == a.sum()
    assert kernels.intersection(a, ~a) == 0


@given(bitmaps(), sizes, st.integers(-50, 100), st.integers(-50, 50))
@settings(deadline=None)
def test_translate_cuts_at_the_image(kernels, mask, size, dx, dy):
    expected = np.zeros(size, bool)
    y, x = np.nonzero(mask)
    y, x = y + dy, x + dx
    inside = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
    expected[y[inside], x[inside]] = True
    assert np.array_equal(kernels.translate(mask, size, dx, dy), expected)


@given(bitmaps(), sizes)
@settings(deadline=None)
def test_resize_nearest(kernels, mask, size):
    assert np.array_equal(kernels.resize_nearest(mask, size), ref.resize_nearest(mask, size))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 13)])
def test_row_24_empty_and_all_true(kernels, size):
    for mask in (np.zeros(size, bool), np.ones(size, bool)):
        counts = kernels.coco_counts(mask)
        assert counts == ([0, mask.size] if mask.any() else [mask.size])
        assert np.array_equal(kernels.from_coco_counts(counts, size), mask)
        assert (
            kernels.compress(counts)
            == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        )


def test_large_counts(kernels):
    counts = [0, 2**31, 5, 2**32 - 1, 1, 3, 2**31 - 1]
    assert kernels.decompress(kernels.compress(counts)) == counts


def test_box_and_rle_as_segment_anything(kernels, amg):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    masks = rng.random((6, 20, 31)) > np.array([0, 0.2, 0.5, 0.9, 0.99, 1.1])[:, None, None]
    boxes = amg.batched_mask_to_box(torch.from_numpy(masks)).tolist()
    for mask, box, rle in zip(
        masks, boxes, amg.mask_to_rle_pytorch(torch.from_numpy(masks)), strict=True
    ):
        assert kernels.inclusive_box(mask) == box
        assert kernels.coco_counts(mask) == rle["counts"]


@pytest.mark.parametrize("counts, size", [([5], (2, 2)), ([], (2, 2)), ([2, 3], (2, 2))])
def test_counts_that_do_not_add_up(kernels, counts, size):
    with pytest.raises(ValueError, match="add up"):
        kernels.from_coco_counts(counts, size)


@pytest.mark.parametrize("data", [b"\x7f", b"o", b"\xff" * 10, b"O" * 40, b"oooooooooooooooo0"])
def test_bytes_that_are_no_rle(kernels, data):
    with pytest.raises(ValueError, match="RLE"):
        kernels.decompress(data)
