"""Small regions and the crop-edge filter against segment-anything and the NumPy definitions."""

import numpy as np
import pytest

from tests.reference import regions as ref


def speckled(seed, size=(40, 57)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    disc = (y - 20) ** 2 + (x - 25) ** 2 < 200
    return disc ^ (rng.random(size) < [0.0, 0.02, 0.1, 0.3, 0.5][seed % 5])


@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize("min_area", [0, 1, 2, 5, 50, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_remove_small_regions(kernels, amg, seed, min_area, holes):
    pytest.importorskip("cv2")
    for mask in (speckled(seed), ~speckled(seed), np.zeros((9, 9), bool), np.ones((9, 9), bool)):
        got, changed = kernels.remove_small_regions(mask, min_area, holes)
        expected, expected_change = ref.remove_small_regions(mask, min_area, holes)
        theirs, their_change = amg.remove_small_regions(
            mask, min_area, "holes" if holes else "islands"
        )
        assert changed == expected_change == their_change
        assert np.array_equal(got.astype(bool), expected)
        assert np.array_equal(got.astype(bool), theirs)


@pytest.mark.parametrize("seed", range(5))
def test_regions_that_touch_by_corners_are_apart_where_four_neighbours_count(kernels, seed):
    cv2 = pytest.importorskip("cv2")
    for mask in (speckled(seed), ~speckled(seed), np.eye(9) > 0):
        for holes in (True, False):
            labels, stats = cv2.connectedComponentsWithStats(
                (~mask if holes else mask).astype(np.uint8), connectivity=4
            )[1:3]
            areas = stats[:, cv2.CC_STAT_AREA]
            large = [i for i in range(1, len(areas)) if areas[i] >= 5] or [
                1 + int(np.argmax(areas[1:]))
            ]
            expected = (
                mask | ((labels > 0) & (areas[labels] < 5)) if holes else np.isin(labels, large)
            )
            got, _ = kernels.remove_small_regions(mask, 5, holes, connectivity=4)
            assert np.array_equal(got.astype(bool), expected)


@pytest.mark.parametrize("threshold", [0.0, 0.7])
@pytest.mark.parametrize("most", [(0, 0), (6, 0), (0, 9), (30, 30), (2000, 2)])
def test_filling_on_a_device(kernels, plain_device, threshold, most):
    """Pixel by pixel what the CPU fills, also in regions that wind through the whole mask, and in
    pieces of few masks."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(9, 40, 57)).astype(np.float32)
    for mask in noise[3:6]:
        for _ in range(3):  # smooth, with larger regions
            mask += np.roll(mask, 1, 0) + np.roll(mask, -1, 1)
    y, x = np.mgrid[:40, :57]
    noise[6] = np.where((y % 2 == 0) | (x == np.where(y % 4 == 1, 0, 56)), 1, -1)  # one snake
    noise[7] = 5
    expected = np.stack([kernels.fill_small_regions(mask, *most, threshold) for mask in noise])
    for memory in (1, 1 << 30):
        got = kernels.fill_small_regions_on(plain_device, noise, *most, threshold, memory)
        assert np.array_equal(got, expected)
    assert (expected != noise).any() == (most != (0, 0)), "vacuous"


@pytest.mark.parametrize("min_area", [1, 10, 400])
def test_postprocess(kernels, min_area):
    masks = np.array([speckled(s) for s in range(8)] + [np.zeros((40, 57), bool), speckled(0)])
    kept, cleaned = kernels.postprocess_small_regions(masks, min_area, 0.7)
    expected, expected_masks = ref.postprocess(masks, min_area, 0.7)
    assert kept == expected
    for index, mask in zip(kept, cleaned, strict=True):
        assert np.array_equal(mask, expected_masks[index])


def test_near_crop_edge(kernels, amg):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    image = (150, 200)
    for crop in ([0, 0, 200, 150], [0, 0, 110, 90], [60, 40, 200, 150], [60, 0, 140, 150]):
        low = rng.integers(0, 60, (200, 2))
        boxes = np.concatenate([low, low + rng.integers(0, 60, (200, 2))], 1)
        for atol in (20.0, 5.0):
            theirs = amg.is_box_near_crop_edge(
                torch.from_numpy(boxes), crop, [0, 0, 200, 150], atol
            ).tolist()
            placed = boxes + np.array([crop[0], crop[1]] * 2)
            assert [kernels.near_crop_edge(list(b), crop, image, atol) for b in placed] == theirs
