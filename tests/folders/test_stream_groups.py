"""Streams on a device: consecutive images are encoded in one call."""

import threading
import time

import numpy as np
import pytest
import segrid

from tests.folders.test_stream import pictures

OPTIONS = dict(points_per_side=6, pred_iou_thresh=0.3, stability_score_thresh=0.5)


@pytest.fixture(scope="module")
def plain():
    return segrid.Segmenter("tiny", device="cpu-plain", precision="fp32")


@pytest.fixture
def batches(plain, monkeypatch):
    """The numbers of images of the calls of encode_batch."""
    counts = []
    encode_batch = type(plain).encode_batch

    def counted(self, images):
        images = list(images)
        counts.append(len(images))
        return encode_batch(self, images)

    monkeypatch.setattr(type(plain), "encode_batch", counted)
    return counts


def same(one, other):
    """Rounding may move a pixel whose logit is next to the threshold."""
    assert len(one) == len(other) and np.abs(one.scores - other.scores).max(initial=0) < 1e-4
    assert (one.array != other.array).sum((1, 2)).max(initial=0) <= 2


def test_groups_keep_order_and_results(plain, batches):
    images = pictures(11)
    seen = list(segrid.stream(plain, images, image_batch_size=4, **OPTIONS))
    assert sorted(batches) == [3, 4, 4] and [s.index for s in seen] == list(range(11))
    for image, one in zip(images, seen, strict=True):
        assert one.error is None and one.seconds["compute"] > 0
        same(one.result, plain.everything(image, **OPTIONS))
    assert sum(len(one.result) for one in seen) > 10, "vacuous"
    assert seen[0].result._image is not None, "pictures of the masks show the image"


@pytest.mark.parametrize("limits", [dict(in_flight=3), dict(in_flight=1), dict(io_workers=2)])
def test_groups_are_no_larger_than_what_is_in_memory(plain, batches, limits):
    seen = list(segrid.stream(plain, pictures(7), image_batch_size=5, **limits, **OPTIONS))
    assert [s.error for s in seen] == [None] * 7
    assert sorted(batches) == {3: [1, 3, 3], 1: [1] * 7}.get(limits.get("in_flight"), [2, 5])


def test_a_bad_image_does_not_take_its_group_with_it(plain, batches, tmp_path):
    images = [*pictures(3), tmp_path / "missing.png", *pictures(2)]
    seen = list(segrid.stream(plain, images, image_batch_size=3, **OPTIONS))
    assert [type(s.error).__name__ for s in seen] == [
        *["NoneType"] * 3,
        "FileNotFoundError",
        *["NoneType"] * 2,
    ]
    assert sorted(batches) == [2, 3]
    for image, one in zip(images[4:], seen[4:], strict=True):
        same(one.result, plain.everything(image, **OPTIONS))


def test_a_group_that_fails_is_encoded_one_by_one(plain, monkeypatch):
    """The error of one image is not the error of the others."""
    bad = pictures(4)[2].shape[:2]
    encode_batch = type(plain).encode_batch

    def refuses(self, images):
        images = list(images)
        if any(image.array.shape[:2] == bad for image in images):
            raise NotImplementedError("NaN or Inf in fp16")
        return encode_batch(self, images)

    monkeypatch.setattr(type(plain), "encode_batch", refuses)
    seen = list(segrid.stream(plain, pictures(4), image_batch_size=4, **OPTIONS))
    assert [s.error for s in seen] == [None] * 4
    for image, one in zip(pictures(4), seen, strict=True):
        same(one.result, plain.everything(image, **OPTIONS))


def test_given_boxes_are_predicted_from_the_group(plain, batches):
    def boxes(image, pixels):
        return {"boxes": [[2, 3, pixels.shape[1] - 4, pixels.shape[0] - 5]]}

    seen = list(segrid.stream(plain, pictures(4), image_batch_size=2, options_for=boxes))
    assert batches == [2, 2]
    for image, one in zip(pictures(4), seen, strict=True):
        same(one.result, plain.predict(image, **boxes(image, image)))


def test_crops_are_images_of_their_own(plain, batches):
    """So they go without groups, however the layers are asked for."""
    options = {**OPTIONS, "points_per_side": 2}
    (one,) = segrid.stream(plain, pictures(1), crop_n_layers=1, **options)
    (other,) = segrid.stream(
        plain, pictures(1), options_for=lambda *_: {"crop_n_layers": 1}, **options
    )
    assert one.error is None and other.error is None and batches == [1]
    assert np.array_equal(one.result.array, other.result.array)


def test_the_kernels_of_the_cpu_take_single_images(tiny, batches):
    assert len(list(segrid.stream(tiny, pictures(3), image_batch_size=3, **OPTIONS))) == 3
    assert batches == []


def test_closing_lets_waiting_images_go(plain, four_threads):
    """A group waits for its last image, which is never read."""
    never, begun = threading.Event(), threading.Event()

    def read(item):
        if item == 5:
            begun.set()
            never.wait(20)
        return pictures(1)[0]

    running = segrid.stream(plain, range(12), read=read, image_batch_size=4, in_flight=8, **OPTIONS)
    next(running)
    assert begun.wait(20)
    threading.Timer(0.3, never.set).start()
    start = time.perf_counter()
    running.close()
    assert time.perf_counter() - start < 10


def test_a_token_stops_a_stream_of_groups(plain):
    with segrid.CancelToken() as token:
        running = segrid.stream(plain, iter(pictures(40)), image_batch_size=4, **OPTIONS)
        next(running)
        token.cancel()
        with pytest.raises(segrid.Cancelled):
            list(running)
