"""The resizing before detectors: OWLv2's pad, blur and zoom equal those of transformers' Pillow
processor, and OWL-ViT's bicubic filter equals Pillow's."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.building_blocks import kernels
from tests.reference.resize import owlv2_torchvision

blurred = kernels.resize_rgb_blurred
SIZES = [
    ((480, 640), 320),
    ((640, 480), 320),
    ((300, 301), 128),
    ((100, 150), 320),
    ((320, 320), 320),
    ((319, 320), 320),
    ((1, 1), 32),
    ((1, 90), 32),
    ((90, 1), 32),
    ((900, 4), 64),
    ((1000, 1500), 96),
    ((33, 32), 32),
    ((500, 400), 7),
]


def noise(size):
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)


def theirs(rgb, side):
    from transformers import Owlv2ImageProcessorPil

    processor = Owlv2ImageProcessorPil(size={"height": side, "width": side}, do_normalize=False)
    return 255 * processor(
        rgb, return_tensors="np", input_data_format="channels_last"
    ).pixel_values[0].transpose(1, 2, 0)


@pytest.mark.parametrize("size,side", SIZES)
def test_equals_transformers_pillow_processor(size, side):
    """The pixels are within 1e-4 of 255: fp32 sums against SciPy's float64 sums."""
    rgb = noise(size)
    np.testing.assert_allclose(blurred(rgb, side), theirs(rgb, side), atol=255e-4)


def test_the_square_around_a_narrow_image_is_never_made():
    """The image has 24,000 x 9 pixels; its square would take 1.7 GB."""
    from segrid.measuring.memory import reset_peak, resident_mb

    rgb = noise((24_000, 9))
    reset_peak()
    before = resident_mb("VmHWM")
    blurred(rgb, 64)
    assert resident_mb("VmHWM") - before < 100


@pytest.mark.parametrize("name", ["coffee", "chelsea", "noise"])
@pytest.mark.parametrize("side", [300, 150, 60])
def test_how_far_transformers_torchvision_processor_is(name, side):
    """transformers has two processors that disagree: the torchvision one cuts the Gaussian at 3
    sigma and clamps at the edges. They differ by at most 0.4 of 255, and by 0.03 in the mean."""
    rgb = noise((400, 600)) if name == "noise" else getattr(skimage.data, name)()
    apart = np.abs(blurred(rgb, side) - owlv2_torchvision(rgb, side))
    assert 0 < apart.max() < 0.4 and apart.mean() < 0.03, (apart.max(), apart.mean())


@pytest.mark.parametrize(
    "size,to",
    [
        ((480, 640), (96, 96)),
        ((50, 70), (96, 96)),
        ((96, 300), (96, 96)),
        ((1, 1), (5, 4)),
        ((700, 20), (31, 33)),
        ((5, 5), (5, 5)),
    ],
)
def test_bicubic_equals_pillow(size, to):
    rgb = noise(size)
    got = kernels.resize_rgb_bicubic(rgb, *to)
    assert np.array_equal(got, np.asarray(Image.fromarray(rgb).resize(to[::-1], Image.BICUBIC)))
