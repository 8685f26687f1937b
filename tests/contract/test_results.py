"""Masks: shared memory, lifetime, slicing and formats; embeddings. Rows 44 and 48 of the bad inputs
in tests/README.md."""

import gc
import pickle

import numpy as np
import pytest
import segrid


@pytest.fixture(scope="module")
def masks(tiny, coins):
    found = tiny.everything(coins, points_per_side=12)
    assert len(found) > 5
    return found


def test_row_48_array_shares_the_engines_memory(masks):
    first, second = masks.array, masks.array
    assert first.dtype == bool and first.shape == (len(masks), 303, 384)
    assert first.__array_interface__["data"] == second.__array_interface__["data"]
    assert not first.flags.owndata and first.base is not None
    kept = first[0, 0, 0]
    first[0, 0, 0] = not kept  # The array is writable, and every view shows the change.
    assert second[0, 0, 0] != kept
    first[0, 0, 0] = kept


def test_row_48_array_outlives_everything(coins):
    model = segrid.Segmenter("tiny")
    masks = model.everything(coins, points_per_side=6)
    array = masks.array
    expected = array.copy()
    del model, masks
    gc.collect()
    junk = [np.ones(array.nbytes, np.uint8) for _ in range(4)]
    assert (array == expected).all() and junk


def test_columns_agree_with_pixels(masks):
    from pycocotools import mask as coco

    for i in range(len(masks)):
        pixels = masks.array[i]
        ys, xs = np.nonzero(pixels)
        assert masks.areas[i] == len(xs)
        assert masks.boxes[i].tolist() == [xs.min(), ys.min(), xs.max(), ys.max()]
        theirs = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
        assert masks.rle[i] == {"size": [303, 384], "counts": theirs["counts"]}
        record = masks.to_coco()[i]
        assert record["bbox"] == coco.toBbox(theirs).tolist() and record["area"] == len(xs)
        assert isinstance(record["segmentation"]["counts"], str)
        assert (masks[i].array[0] == pixels).all()
        assert (
            coco.decode(coco.frPyObjects(masks.uncompressed_rle[i], 303, 384)).astype(bool).tolist()
            == pixels.tolist()
        )


def test_label_map_puts_small_masks_on_top(masks):
    labels = masks.label_map()
    expected = np.zeros_like(labels)
    for i in np.argsort(-masks.areas, kind="stable"):
        expected[masks.array[i]] = i + 1
    assert (labels == expected).all()


def test_slicing(masks):
    assert len(masks[1:4]) == 3 and (masks[1:4].areas == masks.areas[1:4]).all()
    assert (masks[masks.areas > 500].areas == masks.areas[masks.areas > 500]).all()
    assert (masks[[2, 0]].scores == masks.scores[[2, 0]]).all()
    assert masks[-1].areas[0] == masks.areas[-1]
    assert [m.areas[0] for m in masks] == masks.areas.tolist()
    assert len(masks[[]]) == 0
    for bad in (99, [99], np.ones(3, bool)):
        with pytest.raises(IndexError):
            masks[bad]


def test_pictures(masks, coins):
    picture = masks.picture()
    assert picture.shape == coins.shape and (picture != coins).any()
    outside = ~masks.array.any(axis=0)
    assert (picture[outside] == coins[outside]).all()
    assert masks._repr_png_().startswith(b"\x89PNG")
    import matplotlib

    matplotlib.use("Agg")
    assert masks.plot().get_title() == f"{len(masks)} masks"


def test_supervision(masks):
    detections = masks.to_supervision()
    assert (detections.mask == masks.array).all() and np.allclose(
        detections.confidence, masks.scores
    )


def test_dense_pixels_have_a_limit(tiny, coins, monkeypatch):
    masks = tiny.everything(
        coins,
        points_per_side=4,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    huge = masks.resized((30000, 30000))
    with pytest.raises(MemoryError, match="limit is .*GB.*label_map"):
        assert huge.array is None
    assert huge.rle[0]["size"] == [30000, 30000]


def test_embedding_is_a_value(tiny, coins, tmp_path):
    a, b, other = tiny.encode(coins), tiny.encode(coins), tiny.encode(coins[:, ::-1])
    assert a == b and hash(a) == hash(b) and a != other
    assert a.features.shape == (1, 128, 32, 32) and not a.features.flags.writeable
    a.save(tmp_path / "coins.npz")
    back = segrid.Embedding.load(tmp_path / "coins.npz", tiny)
    assert back == a
    assert (
        tiny.predict(back, points=[[150, 60]]).low_res
        == tiny.predict(a, points=[[150, 60]]).low_res
    ).all()
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(segrid.CorruptFileError):
        segrid.Embedding.load(tmp_path / "bad.npz", tiny)


def test_embeddings_of_other_weights_are_refused(tiny, coins, tmp_path):
    from tests import models

    other = segrid.Segmenter(models.sam.make("small", tmp_path))
    with pytest.raises(ValueError, match="other weights"):
        tiny.predict(other.encode(coins), points=[[10, 10]])
    with pytest.raises(ValueError, match="crop_n_layers needs the image"):
        tiny.everything(tiny.encode(coins), crop_n_layers=1)


def test_an_embedding_gives_the_same_as_its_image(tiny, coins):
    a = tiny.everything(coins, points_per_side=6)
    b = tiny.everything(tiny.encode(coins), points_per_side=6)
    assert a.rle == b.rle


def test_row_44_pickle(tiny, coins):
    again = pickle.loads(pickle.dumps(tiny))
    assert (
        again.predict(coins, points=[[150, 60]]).low_res
        == tiny.predict(coins, points=[[150, 60]]).low_res
    ).all()
