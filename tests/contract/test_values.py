"""Results are values: they pickle, copy and compare, and process pools return them."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import segrid
from segrid import _core

COLUMNS = (
    "boxes",
    "areas",
    "scores",
    "object_scores",
    "stability",
    "points",
    "prompt",
    "crop_boxes",
)
PROTOCOLS = [2, pickle.HIGHEST_PROTOCOL]


@pytest.fixture(scope="module")
def clicked(tiny, coins):
    """Masks of `predict`, with logits; the prompts are boxes without points."""
    return tiny.predict(coins, boxes=[[30, 20, 90, 80], [100, 40, 180, 120]], multimask=True)


@pytest.fixture(scope="module")
def found(clicked, coins):
    labels = [f"coin {i}" for i in range(len(clicked))]
    return segrid.Detections(
        clicked.boxes, clicked.scores, labels, np.arange(len(clicked)), clicked.size, clicked, coins
    )


WAYS_TO_COPY = [
    *(lambda value, p=p: pickle.loads(pickle.dumps(value, p)) for p in PROTOCOLS),
    copy.copy,
    copy.deepcopy,
]


@pytest.mark.parametrize("again", WAYS_TO_COPY)
def test_masks_are_copied_whole(clicked, again):
    other = again(clicked)
    assert other == clicked and other is not clicked
    assert other.rle == clicked.rle and other.size == clicked.size and other.stats == clicked.stats
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(other, name), getattr(clicked, name))
        assert getattr(other, name).dtype == getattr(clicked, name).dtype
    np.testing.assert_array_equal(other.low_res, clicked.low_res)
    np.testing.assert_array_equal(other.array, clicked.array)
    np.testing.assert_array_equal(other.picture(), clicked.picture())  # The copy has the image.
    np.testing.assert_array_equal(other.measure()["intensity"], clicked.measure()["intensity"])


def test_a_deep_copy_has_pixels_of_its_own(tiny, coins):
    masks = tiny.predict(coins, points=[[150, 60]])
    other = copy.deepcopy(masks)
    before = other.array.copy()
    masks.array[:] = ~masks.array
    assert (other.array == before).all()


@pytest.mark.parametrize("again", WAYS_TO_COPY)
def test_masks_of_everything_and_none(tiny, coins, again):
    masks = tiny.everything(coins, points_per_side=6)
    assert again(masks) == masks and again(masks).low_res is None
    none = masks[[]]
    assert (
        len(again(none)) == 0 and again(none) == none and again(none).array.shape == (0, *none.size)
    )


def test_masks_are_equal_by_content(tiny, coins, clicked):
    same = tiny.predict(coins, boxes=[[30, 20, 90, 80], [100, 40, 180, 120]], multimask=True)
    assert same == clicked and same.stats != clicked.stats and not same != clicked
    assert (
        clicked[:2] != clicked and clicked[[1, 0]] != clicked[[0, 1]] and clicked[[]] == clicked[[]]
    )
    assert clicked[0] != tiny.predict(coins, boxes=[[30, 20, 90, 81]])
    assert clicked.resized(clicked.size) != clicked  # A resized result has no logits.
    assert clicked != clicked.rle and clicked != None  # noqa: E711
    with pytest.raises(TypeError, match="unhashable"):
        hash(clicked)


def damaged_states():
    """Changes that damage a good state of two masks of 3 x 4 pixels."""

    def put(index, value):
        return lambda state: (*state[:index], value, *state[index + 1 :])

    def edit(index, at, value):
        def change(state):
            array = state[index].copy()
            array[at] = value
            return put(index, array)(state)

        return change

    yield "too short", lambda state: state[:-1]
    yield "version", put(0, 99)
    yield "size", put(1, (0, 4))
    yield "huge size", put(1, (1 << 40, 1 << 40))
    yield "too small a size", put(1, (1, 2))
    yield "counts negative", edit(2, 0, -1)
    yield "counts too many", edit(2, 0, 1000)
    yield "counts of another kind", put(2, "no array")
    yield "runs backwards", edit(3, (0, 1), 0)
    yield "runs beyond the image", edit(3, (-1, 1), 4_000_000_000)
    yield "runs cut off", lambda state: put(3, state[3][:-1])(state)
    yield "runs flat", lambda state: put(3, state[3].ravel())(state)
    yield "boxes not finite", edit(4, (0, 0), np.nan)
    yield "a box that does not hold its mask", edit(4, (0, 0), 1e300)
    yield "a box of another place", edit(4, (0, 2), 1.0)
    yield "numbers cut off", lambda state: put(4, state[4][:, :-1])(state)
    yield "scores of another dtype", lambda state: put(5, state[5].astype(str))(state)
    yield "prompt negative", edit(6, 0, -3)
    yield "stats no dict", put(7, 5)
    yield "logits of another number", lambda state: put(8, np.zeros((5, 2, 2), np.float32))(state)


@pytest.mark.parametrize(
    "damage", [pytest.param(change, id=name) for name, change in damaged_states()]
)
def test_damaged_pickles_are_refused(clicked, damage):
    state = clicked[:2]._native.__getstate__()
    kind = _core.MaskSet
    again = kind.__new__(kind)
    again.__setstate__(state)
    assert again == clicked[:2]._native
    with pytest.raises((ValueError, TypeError)):
        kind.__new__(kind).__setstate__(damage(state))


def test_embeddings(tiny, coins):
    embedding = tiny.encode(coins)
    again = pickle.loads(pickle.dumps(embedding))
    assert again == embedding and hash(again) == hash(embedding) and {embedding: 1}[again] == 1
    assert again.features.shape == embedding.features.shape and not again.features.flags.writeable
    assert repr(again) == repr(embedding)
    points = dict(points=[[150, 60]], multimask=True)
    assert tiny.predict(again, **points) == tiny.predict(embedding, **points)
    grid = dict(points_per_side=5)
    assert tiny.everything(pickle.loads(pickle.dumps(embedding)), **grid) == tiny.everything(
        embedding, **grid
    )
    assert again == embedding  # The embedding is still equal after use.
    assert copy.deepcopy(embedding) == embedding and copy.copy(embedding) is embedding
    assert embedding != tiny.encode(coins[:, ::-1]) and embedding != tiny.encode(coins[:-1])


def test_embeddings_of_sam2_keep_their_fine_features(tmp_path, coins):
    from tests import models

    model = segrid.Segmenter(models.sam2.make("small", tmp_path / "sam2"), precision="fp32")
    embedding = model.encode(coins)
    again = pickle.loads(pickle.dumps(embedding))
    assert (
        len(again.high_res_features) == 2 and again == embedding and hash(again) == hash(embedding)
    )
    assert model.predict(again, points=[[150, 60]]) == model.predict(embedding, points=[[150, 60]])


def test_files_hold_the_features_without_the_no_memory_embedding(coins, tmp_path):
    """SAM 2 adds it to the image tokens of an image that is decoded alone. Files of an older
    segrid, which do not say whether theirs hold it, are refused."""
    from tests.models import sam2

    model = segrid.Segmenter(sam2.make("small", tmp_path))
    embedding = model.encode(coins)
    embedding.save(tmp_path / "e.npz")
    held = dict(np.load(tmp_path / "e.npz"))
    no_memory = embedding._source.no_memory
    assert not held["no_memory_added"] and np.abs(no_memory).max() > 0
    whole = held["features"] + no_memory[:, None, None]
    np.testing.assert_array_equal(embedding.features, whole)
    click = dict(points=[[150, 60]])
    for again in (
        segrid.Embedding.load(tmp_path / "e.npz", model),
        pickle.loads(pickle.dumps(embedding)),
        segrid.Embedding.of(model, embedding.image_size, [whole, *embedding.high_res_features]),
    ):
        assert again == embedding and hash(again) == hash(embedding)
        assert model.predict(again, **click) == model.predict(embedding, **click)
    again.save(tmp_path / "of.npz")  # it came from `of`: its features hold the embedding
    assert np.load(tmp_path / "of.npz")["no_memory_added"]
    assert segrid.Embedding.load(tmp_path / "of.npz", model) == embedding
    del held["no_memory_added"]
    np.savez(tmp_path / "old.npz", **held)
    with pytest.raises(segrid.CorruptFileError, match="an embedding of an older segrid"):
        segrid.Embedding.load(tmp_path / "old.npz", model)


def test_an_unpickled_embedding_is_refused_by_other_weights(tiny, coins, tmp_path):
    from tests import models

    other = segrid.Segmenter(models.sam.make("small", tmp_path))
    again = pickle.loads(pickle.dumps(other.encode(coins)))
    with pytest.raises(ValueError, match="other weights"):
        tiny.predict(again, points=[[10, 10]])
    assert len(other.predict(again, points=[[10, 10]])) == 1


def test_unpickling_an_embedding_needs_no_engine(tiny, coins, tmp_path):
    embedding = tiny.encode(coins)
    (tmp_path / "embedding.pickle").write_bytes(pickle.dumps(embedding))
    code = (
        f"import pickle; e = pickle.load(open({str(tmp_path / 'embedding.pickle')!r}, 'rb')); "
        "print(e.image_size, hash(e))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == f"{embedding.image_size} {hash(embedding)}".split(), done.stderr


def test_damaged_pickles_of_embeddings_are_refused(tiny, coins):
    rebuild, (size, features, model, no_memory) = tiny.encode(coins).__reduce__()
    assert no_memory is None
    for bad in (
        (size, [], model, None),
        (size, [features[0][0]], model, None),
        ((1, 2, 3), features, model, None),
        (size, ["text"], model, None),
        (size, [features[0].astype(int)], model, None),
        (size, features, 7, None),
        (size, features, model, np.zeros(3, np.float32)),
        (size, features, model, "text"),
    ):
        with pytest.raises(segrid.CorruptFileError, match="damaged"):
            rebuild(*bad)
    with pytest.raises(ValueError, match="shape"):
        tiny.predict(rebuild(size, [features[0][:, :, :, :5]], model, None), points=[[1, 1]])


@pytest.mark.parametrize("again", WAYS_TO_COPY)
def test_detections(found, again):
    other = again(found)
    assert other == found and other.labels == found.labels and other.masks == found.masks
    np.testing.assert_array_equal(other.picture(), found.picture())
    without = segrid.Detections(found.boxes, found.scores, found.labels, found.class_id, found.size)
    assert again(without) == without and without != found


def test_detections_are_equal_by_content(found, tiny):
    parts = dict(
        boxes=found.boxes,
        scores=found.scores,
        labels=found.labels,
        class_id=found.class_id,
        size=found.size,
        masks=found.masks,
    )
    assert segrid.Detections(**parts) == found  # Images do not count in the comparison.
    changes = dict(
        boxes=found.boxes + 1,
        scores=found.scores / 2,
        labels=["x"] * len(found),
        class_id=found.class_id + 1,
        size=(10, 10),
        masks=None,
    )
    for name, value in changes.items():
        assert segrid.Detections(**{**parts, name: value}) != found, name
    assert found[:2] != found and found != 5 and found[1] == found[[1]]
    with pytest.raises(TypeError, match="unhashable"):
        hash(found)


def work(path):
    model = segrid.Segmenter("tiny")
    masks = model.everything(path, points_per_side=5)
    boxes = segrid.Pipeline(None, model)(path, boxes=[[100, 40, 180, 120]], labels=["coin"])
    return masks, boxes, model.encode(path)


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_a_process_pool_returns_them(tmp_path, coins, start):
    from PIL import Image

    path = str(tmp_path / "coins.png")
    Image.fromarray(coins).save(path)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start)) as pool:
        results = list(pool.map(work, [path, path]))
    assert results[0] == results[1] == work(path)
    masks, boxes, embedding = results[0]
    assert masks.rle and boxes.labels == ["coin"] and boxes.masks.array.any()
    assert segrid.Segmenter("tiny").predict(embedding, boxes=boxes.boxes) == boxes.masks
