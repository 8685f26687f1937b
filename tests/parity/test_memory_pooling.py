"""Memory of which only the means of squares of tokens are kept. Transformers has no such setting:
the reference is its memory attention on memory that is the same in all tokens of a square. So a
mean stands for all tokens of its square, and not for one beside the object pointers."""

import numpy as np
import pytest
import torch
from segrid import _core
from segrid.video.changed_config import ConfigChange

from tests import models
from tests.building_blocks import kernels
from tests.parity.test_sam2_memory import (
    MOST,
    attend,
    bf16,
    image_of,
    mask_of,
    off,
    remembered_of,
    same,
)
from tests.reference import video_memory

# Preset, settings, the image's side and the pooling. At 512 the pooled grid is one that
# place_scores takes.
HEADS = dict(memory_attention_num_attention_heads=2)
CASES = [("small", {}, None, 2), ("small", {}, None, 4), ("wide", HEADS, None, 2)]
CASES += [("wide", {}, 512, 2), ("wide", HEADS, 512, 2)]
CASES += [("small", {}, 224, 2)]  # 7 x 7 tokens: with an odd number of frames the last has no pair
MEMORIES = [([0], 0), ([0, 2, 1], 5), ([0, 3, 2, 2, 1], 16)]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """A folder of a model, and the pooling."""
    preset, settings, side, pooling = request.param
    folder = models.sam2.make_video(preset, tmp_path_factory.mktemp("video"), **settings)
    if side is not None:
        folder = models.sam2.of_side(folder, side, tmp_path_factory.mktemp("of_side"))
    return folder, pooling


@pytest.fixture(scope="module")
def original(case):
    from transformers import Sam2VideoModel

    return Sam2VideoModel.from_pretrained(case[0]).eval()


def load(case, device="cpu", precision="fp32"):
    folder, pooling = case
    with ConfigChange(memory_pooling=pooling).applied(folder / "config.json") as config:
        return kernels.Memory(config, str(folder / "model.safetensors"), device, precision)


def both(case, original, ages, pointers):
    """The arguments of our attend(), and the reference's features."""
    image = image_of(original)
    frames, known = remembered_of(original, ages, pointers)
    kept = [(bf16(video_memory.pooled(f, case[1])), age) for f, age in frames]
    spread = [(_spread(f, case[1]), age) for f, age in kept]
    with torch.no_grad():
        theirs = video_memory.attended_to_squares(original, image, spread, known, MOST, case[1])
    return (image, kept, known), theirs


def _spread(means, pooling):
    side = round(len(means) ** 0.5)
    grid = means.view(side, side, -1).repeat_interleave(pooling, 0).repeat_interleave(pooling, 1)
    return grid.flatten(0, 1)


@pytest.mark.parametrize("ages, pointers", MEMORIES)
def test_features_in_the_light_of_memory(case, original, device, ages, pointers):
    given, theirs = both(case, original, ages, pointers)
    same(attend(load(case, device), *given), theirs)


@pytest.mark.parametrize("precision, most", [("bf16", 0.006), ("int8", 0.02)])
def test_lower_precisions(case, original, precision, most):
    if precision == "int8" and _core.int8_is_narrow():
        most = 0.025  # Weights are coarser on this CPU (Int8Panel::narrow).
    given, theirs = both(case, original, *MEMORIES[-1])
    assert 1e-3 < off(attend(load(case, precision=precision), *given), theirs) < most


def test_what_is_kept(case, original, device):
    image, mask = image_of(original), mask_of(original)
    with torch.no_grad():
        whole = video_memory.remembered(original, image, mask)
    kept = load(case, device).encode(image, mask, False, True)
    expected = video_memory.pooled(whole, case[1]).numpy()
    assert kept.shape == expected.shape and expected.std() > 1e-3, "vacuous"
    assert np.abs(kept - expected).max() <= 2**-7 * np.abs(expected).max()  # both are bf16
