"""Images that go through an encoder together: their features are those of single images, a device
is called once for all of them, and a batch that does not fit is halved."""

import numpy as np
import pytest
import segrid

from tests import models
from tests.reference.agreement import same_masks

SIZES = [(60, 80), (90, 70), (64, 64), (33, 120), (128, 40), (50, 50), (81, 82), (200, 100)]


def pictures(sizes=SIZES):
    rng = np.random.default_rng(5)
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture(scope="module", params=["sam", "sam2", "mobile_sam", "edgetam"])
def folder(request, tmp_path_factory):
    return getattr(models, request.param).make("small", tmp_path_factory.mktemp(request.param))


def all_features(embedding):
    return [embedding.features, *embedding.high_res_features]


def test_features_are_those_of_single_images(folder, device):
    """On the CPU to the bit. On devices the products are larger, so sums are rounded in another
    order: by at most 2e-5 of the largest feature in fp32."""
    segmenter = segrid.Segmenter(folder, device=device, precision="fp32")
    images = pictures()
    together = segmenter.encode_batch(images)
    assert [e.image_size for e in together] == [image.shape[:2] for image in images]
    for image, embedding in zip(images, together, strict=True):
        alone = segmenter.encode(image)
        for a, b in zip(all_features(embedding), all_features(alone), strict=True):
            assert a.shape == b.shape and b.std() > 1e-3, "vacuous"
            bound = 0 if device == "cpu" else 2e-5 * np.abs(b).max()
            assert np.abs(a - b).max() <= bound
    different = all_features(together[0])[0] - all_features(together[1])[0]
    assert np.abs(different).max() > 1e-2, "vacuous"
    point = dict(points=[[20, 20]], multimask=True)
    a, b = (
        segmenter.predict(e, **point).low_res for e in (together[3], segmenter.encode(images[3]))
    )
    assert np.abs(a - b).max() <= 1e-3 * np.abs(b).max()


def test_one_call_encodes_all_images(fake, tmp_path):
    """SAM's encoder has one convolution, in its neck."""
    segmenter = segrid.Segmenter(
        models.sam.make("small", tmp_path), device="fake", precision="fp32"
    )
    for count in (1, 8):
        fake.fake_convolutions()
        assert len(segmenter.encode_batch(pictures(SIZES[:count]))) == count
        assert fake.fake_convolutions() == 1
    assert len(segmenter.encode_batch(pictures([(40, 40)] * 18))) == 18
    assert fake.fake_convolutions() == 2, "16 images, then 2"


def test_crops_of_a_layer_are_encoded_together(fake, coins):
    """The image is one layer, its four crops are another."""
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    call = dict(
        points_per_side=8, crop_n_layers=1, pred_iou_thresh=0.5, stability_score_thresh=0.75
    )
    fake.fake_convolutions()
    masks = segmenter.everything(coins, **call)
    assert fake.fake_convolutions() == 2
    same_masks(
        masks, segrid.Segmenter("tiny", device="cpu", precision="fp32").everything(coins, **call)
    )


def test_a_batch_that_does_not_fit_is_halved(fake):
    """The device says that it has memory for the batch. It runs out of it, and the same images go
    in smaller batches, in their order."""
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    images = pictures()
    held = fake.fake_held()
    used = []
    for count in (1, 8):
        segrid._core.reset_device_peak("fake")
        expected = segmenter.encode_batch(images[:count])
        used.append(segrid._core.device_memory("fake")[1] * 1e6 - held)
    assert used[1] > 4 * used[0], "vacuous"
    features = [e.features.copy() for e in expected]
    del expected
    fake.fake_lie(8 << 30)
    fake.fake_limit(int(held + used[1] / 2))
    with pytest.warns(RuntimeWarning, match="images went in batches of [24];"):
        halved = segmenter.encode_batch(images)
    for a, b in zip(halved, features, strict=True):
        assert np.abs(a.features - b).max() <= 2e-5 * np.abs(b).max()
    del halved
    fake.fake_limit(int(held + used[0] / 4))
    with pytest.raises(MemoryError, match="fake:0: out of memory with a single image"):
        segmenter.encode_batch(images)
    fake.fake_limit(2 << 30)
    assert len(segmenter.encode_batch(images)) == 8, "the segmenter works after the failure"


@pytest.mark.filterwarnings("ignore:memory ran out:RuntimeWarning")
def test_a_batch_knows_its_memory(fake):
    """The first batch is made for the memory that is free. The estimate counts no scores of
    attention, which GPUs do not keep but this device does: memory may run out once. From a batch of
    all 8 images it would run out twice."""
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    images = pictures()
    held = fake.fake_held()
    segrid._core.reset_device_peak("fake")
    segmenter.encode(images[0])
    one = segrid._core.device_memory("fake")[1] * 1e6 - held
    fake.fake_limit(int(held + 2.2 * one))
    fake.fake_convolutions()
    emptied = fake.fake_emptied()
    embeddings = segmenter.encode_batch(images)
    assert len(embeddings) == 8 and fake.fake_emptied() - emptied <= 1
    assert 4 <= fake.fake_convolutions() <= 8


def test_each_embedding_has_memory_of_its_own(fake):
    segmenter = segrid.Segmenter("tiny", device="fake", precision="fp32")
    held = fake.fake_held()
    first = segmenter.encode_batch(pictures())[0]
    assert fake.fake_held() - held == first.nbytes


def test_errors(device, tmp_path):
    segmenter = segrid.Segmenter("tiny", device=device, precision="fp32")
    assert segmenter.encode_batch([]) == [] and segmenter.batched == (device != "cpu")
    with pytest.raises(TypeError, match="images: .* pass \\[image\\]"):
        segmenter.encode_batch(pictures()[0])
    with pytest.raises(FileNotFoundError):
        segmenter.encode_batch([pictures()[0], tmp_path / "missing.png"])


def test_a_detector_does_so_too(fake, tmp_path):
    folder = models.owlv2.make("small", tmp_path)
    images = pictures()
    for device in ("cpu", "cpu-plain", "fake"):
        detector = segrid.Detector(folder, device=device, precision="fp32")
        scenes = detector.encode_batch(images)
        for image, scene in zip(images, scenes, strict=True):
            a, b = (
                detector.detect(one, ["a cat", "a dog"], threshold=0.01)
                for one in (scene, detector.encode(image))
            )
            assert len(a) == len(b) > 3 and np.abs(a.scores - b.scores).max() < 1e-5
            assert np.abs(a.boxes - b.boxes).max() < 1e-2
