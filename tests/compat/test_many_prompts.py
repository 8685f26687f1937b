"""More prompts than one call of the engine keeps logits of: the drop-ins ask in pieces."""

import numpy as np
import pytest
import torch
from segrid.compat import decoding
from segrid.compat.sam2.build_sam import build_sam2
from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor
from segrid.compat.segment_anything import SamPredictor

from tests.reference.agreement import same_arrays
from tests.reference.sam2_calls import CONFIG


def boxes(count):
    corners = np.random.default_rng(0).uniform(1, 60, (count, 4))
    corners[:, 2:] += corners[:, :2]
    return corners.astype(np.float32)


@pytest.fixture
def sam(sam_pair, image):
    predictor = SamPredictor(sam_pair[0])
    predictor.set_image(image)
    return lambda some: [
        t.numpy() for t in predictor.predict_torch(None, None, torch.from_numpy(some))
    ]


@pytest.fixture
def sam2(small_sam2, image):
    predictor = SAM2ImagePredictor(build_sam2(CONFIG, small_sam2, device="cpu"))
    predictor.set_image(image)
    return lambda some: predictor.predict(box=some)


@pytest.mark.parametrize("library", ["sam", "sam2"])
def test_pieces_give_what_one_call_gives(library, request, monkeypatch):
    predict = request.getfixturevalue(library)
    whole = predict(boxes(7))
    monkeypatch.setattr(decoding, "LOW_RES_BYTES", whole[2][0].nbytes * 3)
    same_arrays(predict(boxes(7)), whole, 1e-5)


def test_more_than_the_engine_keeps(image):
    """The pieces have their true size, and none may lose its logits."""
    from segrid import Segmenter
    from segrid.compat.segment_anything.modeling import Sam

    tiny = Segmenter("tiny")
    height, width = tiny._engine.low_res
    count = decoding.LOW_RES_BYTES // (12 * height * width) + 1
    predictor = SamPredictor(Sam(tiny))
    predictor.set_image(image[:20, :30])
    points = torch.full((count, 1, 2), 9.0)
    found = predictor.predict_torch(points, torch.ones(count, 1))
    assert found[2].shape == (count, 3, height, width)


@pytest.mark.parametrize("library", ["sam", "sam2"])
def test_no_boxes_are_named(library, request):
    with pytest.raises(ValueError, match=r"the boxes are empty \(0 prompts\)"):
        request.getfixturevalue(library)(boxes(0))
