"""Large images: the model's working scale chooses the crop layers, and an object on the seam of
crops is found once."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import segrid


@pytest.fixture(scope="module")
def field():
    """A (700, 900, 3) uint8 image with 140 bright disks on a dark background, many of them on the
    seams of crops; and the centres of the disks."""
    rng = np.random.default_rng(3)
    centres = [
        (x + rng.uniform(-8, 8), y + rng.uniform(-8, 8))
        for y in range(40, 680, 64)
        for x in range(40, 880, 62)
    ]
    ys, xs = np.mgrid[:700, :900]
    image = np.full((700, 900), 30.0) + rng.normal(0, 4, (700, 900))
    for x, y in centres:
        image[(xs - x) ** 2 + (ys - y) ** 2 < rng.uniform(12, 17) ** 2] += 130
    return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2), np.array(
        centres
    )


def counts(masks, centres):
    """The number of masks of about a disk's area that cover each centre."""
    small = masks[np.flatnonzero(masks.areas < 2000)]
    at = np.rint(centres).astype(int)
    return small.array[:, at[:, 1], at[:, 0]].sum(axis=0)


def test_auto_finds_small_objects_once(tiny, field):
    image, centres = field
    assert tiny.working_scale == 400
    auto = tiny.everything(image, crop_n_layers="auto", points_per_side=12)
    whole = tiny.everything(image, points_per_side=12)
    same = tiny.everything(image, crop_n_layers=2, points_per_side=12)
    assert auto.rle == same.rle and np.array_equal(auto.scores, same.scores)
    found = counts(auto, centres)
    assert (found >= 1).mean() > 0.97 and (found > 1).mean() < 0.01, np.bincount(found)
    assert (counts(whole, centres) >= 1).mean() < (found >= 1).mean()
    doubled = tiny.everything(
        image,
        crop_n_layers="auto",
        points_per_side=12,
        crop_containment_thresh=1.0,
        containment_thresh=1.0,
    )
    assert (counts(doubled, centres) > 1).sum() > 10  # Merging removes these.


def test_small_images_need_no_crops(tiny, coins):
    assert tiny.everything(coins, crop_n_layers="auto").rle == tiny.everything(coins).rle


def test_auto_keeps_to_the_grids_and_the_point_limit(tiny, field):
    image, _ = field
    grids = [np.random.default_rng(i).random((6, 2)) for i in range(2)]
    auto = tiny.everything(
        image, crop_n_layers="auto", point_grids=grids, pred_iou_thresh=0, stability_score_thresh=0
    )
    assert (
        auto.rle
        == tiny.everything(
            image, crop_n_layers=1, point_grids=grids, pred_iou_thresh=0, stability_score_thresh=0
        ).rle
    )
    totals = []
    token = segrid.CancelToken()

    def progress(state):
        totals.append(state["total"])
        token.cancel()

    with pytest.raises(segrid.Cancelled):
        tiny.everything(
            image, crop_n_layers="auto", points_per_side=200, progress=progress, cancel=token
        )
    assert totals[0] == 5 * 200**2  # A second layer would have 840,000 points.


@pytest.mark.parametrize("size", [(1, 900), (4, 2000), (12, 1700)])
def test_auto_takes_fewer_layers_of_a_narrow_image(tiny, size):
    """A crop of the next layer would be empty."""
    image = np.zeros((*size, 3), np.uint8)
    assert len(tiny.everything(image, crop_n_layers="auto", points_per_side=4)) >= 0
    with pytest.raises(ValueError, match="would be empty because the image is too narrow"):
        tiny.everything(np.zeros((1, 900, 3), np.uint8), crop_n_layers=1, points_per_side=4)


def test_models_without_a_working_scale_crop_nothing(tiny, field, tmp_path):
    folder = Path(segrid.__file__).parent / "models" / "tiny"
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, tmp_path)
    plain = segrid.Segmenter(tmp_path)
    assert plain.working_scale is None and plain.recommended["crop_containment_thresh"] == 1.0
    options = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.75, "points_per_side": 12}
    assert (
        plain.everything(field[0], crop_n_layers="auto", **options).rle
        == plain.everything(field[0], **options).rle
    )


@pytest.mark.parametrize("scale", ["400", -3, [1]])
def test_a_working_scale_must_be_a_number(tmp_path, scale):
    folder = Path(segrid.__file__).parent / "models" / "tiny"
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "segrid.json").write_text(json.dumps({"recommended": {"working_scale": scale}}))
    with pytest.raises(segrid.CorruptFileError, match="working_scale"):
        segrid.Segmenter(tmp_path)


@pytest.mark.parametrize(
    "layers, message",
    [("all", "whole number or 'auto'"), (6, "0 to 5"), (-1, "0 to 5"), (1.5, "whole number")],
)
def test_bad_layers(tiny, coins, layers, message):
    with pytest.raises(ValueError, match=f"crop_n_layers.*{message}"):
        tiny.everything(coins, crop_n_layers=layers)


def test_an_embedding_cannot_be_cropped(tiny, field, coins):
    with pytest.raises(ValueError, match="crop_n_layers needs the image"):
        tiny.everything(tiny.encode(field[0]), crop_n_layers="auto")
    assert len(tiny.everything(tiny.encode(coins), crop_n_layers="auto")) > 0
