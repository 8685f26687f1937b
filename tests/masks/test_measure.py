"""Numbers of masks against scikit-image's regionprops."""

import numpy as np
import pytest
import segrid
from skimage.measure import regionprops


@pytest.fixture(scope="module")
def masks(tiny, coins):
    return tiny.everything(coins, points_per_side=12)


def test_equals_regionprops(masks, coins):
    found = masks.measure()
    assert len(masks) > 5
    for i, pixels in enumerate(masks.array):
        region = regionprops(pixels.astype(np.uint8), coins)[0]
        np.testing.assert_allclose(found["centroid"][i], region.centroid[::-1], rtol=1e-12)
        np.testing.assert_allclose(found["axes"][i], [region.axis_major_length, region.axis_minor_length], rtol=1e-7, atol=1e-6)
        np.testing.assert_allclose(found["intensity"][i], region.intensity_mean, rtol=1e-12)
        # regionprops' orientation is against the rows' axis, counter-clockwise
        turned = (found["angle"][i] - (np.pi / 2 - region.orientation) + np.pi / 2) % np.pi - np.pi / 2
        assert abs(turned) < 1e-6 or region.axis_major_length - region.axis_minor_length < 1e-6


def test_empty_masks_and_images(tiny, coins):
    masks = tiny.predict(tiny.encode(coins), points=[[150, 60]])
    assert np.isnan(masks.measure()["intensity"]).all()  # of an embedding: no image
    assert np.isfinite(masks.measure(coins)["intensity"]).all()
    with pytest.raises(ValueError, match="measure: the image is 5 x 6"):
        masks.measure(np.zeros((5, 6, 3), np.uint8))
    none = segrid.Pipeline(None, tiny)(coins, boxes=[])
    assert none.masks.measure()["centroid"].shape == (0, 2)
