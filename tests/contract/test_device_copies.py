"""Copies to and from a device beside its work. The fake device does a copy on a stream of its own
only when something waits for it, and its memory holds no numbers before: whoever does not wait
computes with NaN."""

import numpy as np
import pytest
import segrid

from tests.reference.agreement import same_masks


@pytest.fixture(scope="module")
def plain():
    return segrid.Segmenter("tiny", device="cpu-plain", precision="fp32")


def pictures(count):
    rng = np.random.default_rng(2)
    return [rng.integers(0, 255, (40 + i, 90 - i, 3), dtype=np.uint8) for i in range(count)]


def test_pixels_go_up_from_two_buffers_in_turn(fake, tmp_path):
    """More images than buffers, and more than a batch: the next one is copied meanwhile."""
    from tests import models

    folder = models.sam.make("small", tmp_path)
    segmenter, plain = (
        segrid.Segmenter(folder, device=d, precision="fp32") for d in ("fake", "cpu-plain")
    )
    images = pictures(37)
    copies = fake.fake_stream_copies()
    together = segmenter.encode_batch(images)
    assert fake.fake_stream_copies() - copies == 37
    for image, embedding in zip(images, together, strict=True):
        expected = plain.encode(image).features
        assert np.abs(embedding.features - expected).max() <= 2e-5 * np.abs(expected).max()


def test_floats_go_up_likewise(fake, tmp_path):
    """SAM 2's pixels are not rounded."""
    from tests import models

    folder = models.sam2.make("small", tmp_path)
    a, b = (segrid.Segmenter(folder, device=d, precision="fp32") for d in ("fake", "cpu-plain"))
    (image,) = pictures(1)
    copies = fake.fake_stream_copies()
    features = a.encode(image).features
    assert fake.fake_stream_copies() - copies >= 1
    assert np.abs(features - b.encode(image).features).max() <= 2e-5 * np.abs(features).max()


def test_runs_come_down_while_the_next_batch_is_decoded(fake, plain, coins):
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    points = np.random.default_rng(0).uniform(5, 295, (20, 1, 2))
    embedding = segmenter.encode(coins)
    copies = fake.fake_stream_copies()
    masks = segmenter.predict(embedding, points=points, multimask=True, batch_size=6)
    assert fake.fake_stream_copies() - copies == 4
    same_masks(masks, plain.predict(coins, points=points, multimask=True))
    call = dict(points_per_side=12, pred_iou_thresh=0.5, stability_score_thresh=0.75)
    copies = fake.fake_stream_copies()
    masks = segmenter.everything(embedding, **call)
    assert fake.fake_stream_copies() > copies
    same_masks(masks, plain.everything(coins, **call))
