"""Calls inside torch.inference_mode(), as the originals' examples make them, give the same results,
and the models stay usable outside."""

import numpy as np
import pytest
import segrid
import torch

from tests import models

FAMILIES = {"sam": models.sam, "sam2": models.sam2, "mobile_sam": models.mobile_sam}


def photo():
    return np.random.default_rng(2).integers(0, 255, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_segmenters(family, tmp_path, plain_or_cpu):
    folder = FAMILIES[family].make("small", tmp_path)
    points = {"points": [[30, 40], [70, 60]], "multimask": True}
    expected = segrid.Segmenter(folder, device=plain_or_cpu).predict(photo(), **points)
    with torch.inference_mode():
        model = segrid.Segmenter(folder, device=plain_or_cpu)
        embedding = model.encode(photo())
        inside = model.predict(embedding, **points)
        every = model.everything(photo(), points_per_side=2, pred_iou_thresh=0.0)
    assert np.array_equal(inside.low_res, expected.low_res)
    assert np.array_equal(model.predict(embedding, **points).low_res, expected.low_res)
    again = model.everything(photo(), points_per_side=2, pred_iou_thresh=0.0)
    assert np.array_equal(every.array, again.array)


def test_detectors(tmp_path):
    folder = models.owlv2.make("small", tmp_path)
    expected = segrid.Detector(folder).detect(photo(), ["a cat"], threshold=0.0)
    with torch.inference_mode():
        inside = segrid.Detector(folder).detect(photo(), ["a cat"], threshold=0.0)
    assert len(expected) and np.array_equal(inside.scores, expected.scores)


@pytest.fixture(params=["cpu", "cpu-plain"])
def plain_or_cpu(request):
    return request.param
