"""precision="bf16" against our fp32, and against the effect of bf16 autocast on the originals."""

import numpy as np
import pytest
import segrid
import torch
from segrid import _core

features = _core.cpu_features()
pytestmark = pytest.mark.skipif(
    not (features["avx512_bf16"] or features["amx"]),
    reason="this CPU has neither AVX512-BF16 nor AMX",
)


def iou(a, b):
    union = (a | b).sum((1, 2))
    return (a & b).sum((1, 2)) / np.maximum(union, 1)


@pytest.fixture(scope="module")
def low(trio):
    return segrid.Segmenter(trio.folder, precision="bf16")


def test_no_further_from_fp32_than_autocast(trio, low):
    """Our rounding may cost features and clicks at most 1.2 times what torch's autocast costs."""
    assert low.precision == "bf16" and trio.ours.precision == "fp32"
    predictor = trio.predictor()
    exact = predictor.features
    with torch.autocast("cpu", torch.bfloat16):
        predictor.set_image(trio.image)
    theirs = (predictor.features.float() - exact).square().mean().sqrt()
    ours = np.sqrt(np.square(low.encode(trio.image).features - exact.numpy()).mean())
    assert ours < 1.2 * theirs

    low_features = predictor.features
    height, width = trio.image.shape[:2]
    points = np.random.default_rng(0).uniform((5, 5), (width - 5, height - 5), (24, 1, 2))
    full = trio.ours.predict(trio.image, points=points, multimask=True)
    rounded = low.predict(trio.image, points=points, multimask=True)
    placed = torch.from_numpy(predictor.transform.apply_coords(points, (height, width))).float()
    labels = torch.ones(len(points), 1, dtype=torch.int)
    predictor.features = exact
    expected = predictor.predict_torch(placed, labels)[0].flatten(0, 1).numpy()
    predictor.features = low_features
    with torch.autocast("cpu", torch.bfloat16):
        autocast = predictor.predict_torch(placed, labels)[0].flatten(0, 1).numpy()
    lost = 1 - iou(expected, autocast).mean()
    assert 0 < 1 - iou(full.array, rounded.array).mean() < 1.2 * lost


def test_everything_on_the_packaged_model(trained):
    low = segrid.Segmenter(trained.folder, precision="bf16")
    full, rounded = trained.ours.everything(trained.image), low.everything(trained.image)
    assert abs(len(full) - len(rounded)) <= 2 and len(full) > 10
    best = [max(iou(np.repeat(m.array, len(full), 0), full.array)) for m in rounded]
    assert np.mean(best) > 0.99


def test_clicks_on_scenes(trained):
    """The parts of the decoder that stay in fp32 are needed here: with all products rounded the
    loss is more than twice as large."""
    from training.evaluate import scenes_kept

    low, found = segrid.Segmenter(trained.folder, precision="bf16"), []
    for picture in scenes_kept(12):
        height, width = picture.image.shape[:2]
        xs, ys = np.meshgrid((np.arange(6) + 0.5) * width / 6, (np.arange(6) + 0.5) * height / 6)
        points = np.stack([xs.ravel(), ys.ravel()], 1)[:, None]
        found.append(
            iou(
                *(
                    model.predict(picture.image, points=points, multimask=True).array
                    for model in (trained.ours, low)
                )
            )
        )
    assert np.mean(found) > 0.99


def test_same_bits_for_any_thread_count(trained):
    low = segrid.Segmenter(trained.folder, precision="bf16")
    alone = low.with_threads(1).predict(trained.image, points=[[150, 60]], multimask=True)
    assert np.array_equal(
        alone.low_res, low.predict(trained.image, points=[[150, 60]], multimask=True).low_res
    )


def test_the_definition_agrees(small, trained):
    """The plain implementations round the same factors. Sums in another order move some factors to
    the next bf16, and nothing else differs.

    The logits of the trained decoder do not show this: there these few factors cause nearly as much
    as all rounding, in a random decoder of equal size two fifths of it."""

    def apart(model, see):
        low, full = segrid.Segmenter(model.folder, precision="bf16"), model.ours
        fast, exact = see(low, model.image), see(full, model.image)
        try:
            _core.force_kernels("plain")
            plain = see(low, model.image)
        finally:
            _core.force_kernels("auto")
        return np.square(fast - plain).mean() / np.square(fast - exact).mean()

    clicks = (
        np.stack(np.meshgrid([23, 85, 147, 209], [15, 55, 95, 135]), 2)
        .reshape(-1, 1, 2)
        .astype(float)
    )
    assert (
        0
        < apart(
            small, lambda model, image: model.predict(image, points=clicks, multimask=True).low_res
        )
        < 0.5
    )
    assert 0 < apart(trained, lambda model, image: model.encode(image).features) < 0.6
