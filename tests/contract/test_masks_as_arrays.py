"""Results in functions of NumPy."""

import numpy as np
import pytest
import segrid


@pytest.fixture(scope="module")
def masks(tiny, coins):
    found = tiny.everything(coins, points_per_side=8)
    assert len(found) > 3
    return found


def test_asarray_shares_the_engines_memory(masks):
    array = np.asarray(masks)
    assert array.dtype == bool and array.shape == (len(masks), *masks.size)
    assert np.shares_memory(array, masks.array)
    assert np.shares_memory(np.asarray(masks, dtype=bool), masks.array)
    assert np.shares_memory(np.array(masks, copy=False), masks.array)


def test_copies_where_they_are_asked_for(masks):
    copied = np.array(masks)
    assert not np.shares_memory(copied, masks.array) and (copied == masks.array).all()
    numbers = np.asarray(masks, dtype=np.uint8)
    assert numbers.dtype == np.uint8 and (numbers == masks.array).all()
    assert np.array(masks, dtype=np.float32).sum() == masks.areas.sum()


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="copy=False forbids copies since NumPy 2"
)
def test_copy_false_is_an_error_where_a_dtype_needs_one(masks):
    with pytest.raises(ValueError, match="needs a copy"):
        np.array(masks, dtype=np.uint8, copy=False)


def test_numpy_1_calls_it_without_copy(masks):
    """NumPy 1 calls __array__ with a dtype or without arguments."""
    assert np.shares_memory(masks.__array__(), masks.array)
    assert masks.__array__(np.dtype("uint8")).dtype == np.uint8


def test_functions_of_numpy_take_masks(masks):
    assert np.any(masks) and np.sum(masks, axis=(1, 2)).tolist() == masks.areas.tolist()
    assert np.stack([np.asarray(m)[0] for m in masks]).shape == masks.array.shape


def test_a_single_mask_is_one_array_and_not_an_endless_sequence(masks):
    one = masks[0]
    assert len(list(one)) == 1 and np.array(one).shape == (1, *masks.size)
    assert np.array([masks[0], masks[1]]).shape == (2, 1, *masks.size)
    assert np.array(masks[[]]).shape == (0, *masks.size)


def test_detections_are_one_object_to_numpy(masks):
    found = segrid.Detections(
        masks.boxes, masks.scores, ["x"] * len(masks), np.zeros(len(masks)), masks.size
    )
    for some in (found, found[0], found[:0]):
        assert (
            np.array(some).shape == ()
            and np.array(some).dtype == object
            and np.array(some).item() is some
        )
    assert np.array([found, found[:1]], dtype=object).shape == (2,)
    with pytest.raises(TypeError, match="no array of numbers"):
        np.asarray(found, dtype=float)
