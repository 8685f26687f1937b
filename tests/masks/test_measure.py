"""Masks.measure against scikit-image's regionprops."""

import numpy as np
import pytest
import segrid
from skimage.measure import regionprops

from tests.building_blocks import kernels


@pytest.fixture(scope="module")
def masks(tiny, coins):
    return tiny.everything(coins, points_per_side=12)


def test_equals_regionprops(masks, coins):
    found = masks.measure()
    assert len(masks) > 5
    for i, pixels in enumerate(masks.array):
        region = regionprops(pixels.astype(np.uint8), coins)[0]
        np.testing.assert_allclose(found["centroid"][i], region.centroid[::-1], rtol=1e-12)
        np.testing.assert_allclose(
            found["axes"][i],
            [region.axis_major_length, region.axis_minor_length],
            rtol=1e-7,
            atol=1e-6,
        )
        np.testing.assert_allclose(found["intensity"][i], region.intensity_mean, rtol=1e-12)
        # regionprops measures the orientation from the axis of the rows, counter-clockwise.
        turned = (
            found["angle"][i] - (np.pi / 2 - region.orientation) + np.pi / 2
        ) % np.pi - np.pi / 2
        assert abs(turned) < 1e-6 or region.axis_major_length - region.axis_minor_length < 1e-6


def test_empty_masks_and_images(tiny, coins):
    masks = tiny.predict(tiny.encode(coins), points=[[150, 60]])
    assert np.isnan(masks.measure()["intensity"]).all()  # Masks of an embedding have no image.
    assert np.isfinite(masks.measure(coins)["intensity"]).all()
    with pytest.raises(ValueError, match="measure: the image is 5 x 6"):
        masks.measure(np.zeros((5, 6, 3), np.uint8))
    none = segrid.Pipeline(None, tiny)(coins, boxes=[])
    assert none.masks.measure()["centroid"].shape == (0, 2)


def filled(polygons, size):
    """Fills rings of pixel corners by the even-odd rule."""
    out = np.zeros(size, bool)
    for rings in polygons:
        for ring in rings:
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if x0 == x1:
                    out[min(y0, y1) : max(y0, y1), x0:] ^= True
    return out


def test_polygons_are_the_masks(tiny):
    from segrid import Masks

    def masks_of(bitmaps):
        return Masks(kernels.mask_set(np.stack(bitmaps).astype(np.uint8)))

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50]
    ring = (np.hypot(x - 25, y - 20) < 15) & (np.hypot(x - 25, y - 20) > 8)
    island = ring | (np.hypot(x - 25, y - 20) < 3)
    odd = [rng.random((40, 50)) < p for p in (0.02, 0.3, 0.5, 0.7, 0.98)] + [
        ring,
        island,
        np.ones((40, 50), bool),
        np.eye(40, 50) > 0,
        np.zeros((40, 50), bool),
    ]
    for bitmap, polygons in zip(odd, masks_of(odd).polygons(), strict=True):
        assert np.array_equal(filled(polygons, bitmap.shape), bitmap)
        area = 0
        for rings in polygons:
            for i, r in enumerate(rings):
                a, b = r[:, 0], r[:, 1]
                own = (np.dot(a, np.roll(b, -1)) - np.dot(b, np.roll(a, -1))) / 2
                assert (
                    (own > 0) == (i == 0)
                    and len(r) >= 4
                    and (np.abs(r - np.roll(r, 1, axis=0)).min(1) == 0).all()
                )
                area += own
        assert area == bitmap.sum()
    assert [
        len(p)
        for p in masks_of(
            [ring, ring | (np.hypot(x - 25, y - 20) < 3), np.eye(40, 50) > 0]
        ).polygons()
    ] == [1, 2, 40]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6, 0.7, 0.9])
def test_polygons_are_valid(share):
    """Shapely decides: a ring that touches itself at a corner is not valid, but a hole may touch
    its outer ring there."""
    shapely = pytest.importorskip("shapely")
    from segrid import Masks

    noise = np.random.default_rng(int(100 * share)).random((20, 40, 50)) < share
    for bitmap, polygons in zip(
        noise, Masks(kernels.mask_set(noise.astype(np.uint8))).polygons(), strict=True
    ):
        shapes = [shapely.Polygon(rings[0], rings[1:]) for rings in polygons]
        assert all(shape.is_valid for shape in shapes), shapely.is_valid_reason(
            next(s for s in shapes if not s.is_valid)
        )
        assert shapely.MultiPolygon(shapes).is_valid
        assert sum(shape.area for shape in shapes) == bitmap.sum()
        assert np.array_equal(filled(polygons, bitmap.shape), bitmap)


def test_polygons_of_noise_take_no_longer_than_their_pixels():
    import time

    from segrid import Masks

    noise = np.random.default_rng(1).random((1024, 1024)) < 0.6
    began = time.perf_counter()
    polygons = Masks(kernels.mask_set(noise[None].astype(np.uint8))).polygons()[0]
    assert time.perf_counter() - began < 10 and len(polygons) > 20_000
