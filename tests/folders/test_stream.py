"""segrid.stream: order, equal bits, bad images, bounds of memory."""

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

OPTIONS = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


def pictures(n):
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, 255, (40 + 7 * (i % 3), 50 + 11 * (i % 4), 3), dtype=np.uint8)
        for i in range(n)
    ]


def test_in_order_with_equal_bits(tiny):
    images = pictures(9)
    seen = list(segrid.stream(tiny, images, **OPTIONS))
    assert [s.index for s in seen] == list(range(9)) and all(s.error is None for s in seen)
    assert {"read", "compute"} <= set(seen[0].seconds)
    for image, one in zip(images, seen, strict=True):
        assert np.array_equal(one.result.array, tiny.everything(image, **OPTIONS).array)
    before = segrid.threads()
    try:
        segrid.set_threads(1)
        for one, other in zip(
            seen, segrid.stream(tiny, images, in_flight=1, **OPTIONS), strict=True
        ):
            assert np.array_equal(one.result.array, other.result.array) and np.array_equal(
                one.result.scores, other.result.scores
            )
    finally:
        segrid.set_threads(before)


def test_bad_images_are_errors_of_their_own(tiny, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    images = [
        pictures(1)[0],
        tmp_path / "bad.png",
        tmp_path / "missing.png",
        np.full((4, 4, 3), np.nan),
        pictures(2)[1],
    ]
    seen = list(segrid.stream(tiny, images, **OPTIONS))
    assert [type(s.error).__name__ for s in seen] == [
        "NoneType",
        "CorruptFileError",
        "FileNotFoundError",
        "ValueError",
        "NoneType",
    ]
    assert [s.result is None for s in seen] == [False, True, True, True, False] and seen[
        1
    ].source == tmp_path / "bad.png"


def test_no_more_in_memory_than_asked(tiny):
    taken, done = [], []

    def source():
        for i, image in enumerate(pictures(12)):
            taken.append(i)
            yield image

    for one in segrid.stream(tiny, source(), in_flight=3, **OPTIONS):
        done.append(one.index)
        assert len(taken) - len(done) <= 3
        time.sleep(0.01)
    assert done == list(range(12))


def test_free_pages_go_back_after_each_encoding_and_each_image(tiny, monkeypatch):
    from segrid import _core
    from segrid.folders import stream

    given, told = [], []
    monkeypatch.setattr(_core, "give_back_memory", lambda: given.append(told[-1]["stage"]))
    monkeypatch.setattr(stream, "GIVE_BACK_INTERVAL", 0)
    monkeypatch.setattr(stream, "LONG_ENCODING", 0)
    list(segrid.stream(tiny, pictures(2), in_flight=1, progress=told.append, **OPTIONS))
    assert given == ["encode", "filter"] * 2 and told[-1]["done"] == 16
    # Now pages go back after encodings only.
    monkeypatch.setattr(stream, "GIVE_BACK_INTERVAL", 1000)
    given.clear()
    list(segrid.stream(tiny, pictures(2), in_flight=1, progress=told.append, **OPTIONS))
    assert given == ["encode"] * 2


def test_consume_runs_beside_and_its_errors_are_the_images(tiny):
    threads = set()

    def consume(one, pixels):
        threads.add(threading.current_thread().name)
        if one.index == 2:
            raise OSError("disk")
        return one.index, pixels.shape, len(one.result)

    seen = list(segrid.stream(tiny, pictures(4), consume=consume, **OPTIONS))
    assert (
        [s.output[0] for s in seen if s.error is None] == [0, 1, 3]
        and str(seen[2].error) == "disk"
        and seen[2].result is None
    )
    assert threading.current_thread().name not in threads


def test_options_for_each_image(tiny):
    images = pictures(3)
    boxes = {id(image): [[1 + i, 2, 30, 30]] for i, image in enumerate(images)}
    for image, one in zip(
        images,
        segrid.stream(tiny, images, options_for=lambda image, pixels: {"boxes": boxes[id(image)]}),
        strict=True,
    ):
        assert np.array_equal(one.result.array, tiny.predict(image, boxes=boxes[id(image)]).array)


def test_pipelines_and_functions(tiny):
    images = pictures(3)
    pipeline = segrid.Pipeline(None, tiny)
    for image, one in zip(
        images, segrid.stream(pipeline, images, boxes=[[1, 2, 30, 30]]), strict=True
    ):
        assert np.array_equal(
            one.result.masks.array, tiny.predict(image, boxes=[[1, 2, 30, 30]]).array
        )
    assert [s.result for s in segrid.stream(lambda image: image.array.shape, images)] == [
        i.shape for i in images
    ]


def test_closing_stops_soon(tiny):
    large = np.asarray(Image.fromarray(pictures(1)[0]).resize((900, 700)))
    # Images after the first take a core a minute and more: the test shows one that is not stopped.
    running = segrid.stream(
        tiny,
        (image for image in [pictures(1)[0], *[large] * 50]),
        options_for=lambda _, pixels: {"points_per_side": 250 if pixels.shape[1] == 900 else 2},
        pred_iou_thresh=0.99,
    )
    next(running)
    began = time.perf_counter()
    running.close()
    assert time.perf_counter() - began < 5
    assert len(list(segrid.stream(tiny, pictures(2), **OPTIONS))) == 2
    with pytest.raises(ValueError, match="in_flight"):
        segrid.stream(tiny, [], in_flight=0)


class Counting:
    """A function that counts how many calls run in it at once. The first `expected` calls wait for
    one another, so that they meet however busy the machine is; calls that cannot meet raise."""

    def __init__(self, expected):
        self.inside, self.most, self.lock = 0, 0, threading.Lock()
        self.called, self.expected, self.meeting = 0, expected, threading.Barrier(expected)

    def __call__(self, value):
        with self.lock:
            self.inside += 1
            self.called += 1
            self.most = max(self.most, self.inside)
            among_the_first = self.called <= self.expected
        if among_the_first:
            self.meeting.wait(timeout=60)
        time.sleep(0.01)
        with self.lock:
            self.inside -= 1
        return value


@pytest.mark.parametrize("images,files", [(1, 1), (3, 2), (2, 4)])
def test_how_many_at_once(images, files):
    computing, reading = Counting(images), Counting(files)
    stream = segrid.stream(
        lambda image: computing(len(image.array)),
        pictures(14),
        image_batch_size=images,
        io_workers=files,
        read=reading,
    )
    assert [s.result for s in stream] == [len(p) for p in pictures(14)]
    assert computing.most == images and reading.most == files


def test_equal_bits_for_any_batch(tiny):
    wanted = [tiny.everything(p, **OPTIONS).array for p in pictures(5)]
    for more in ({"image_batch_size": 1}, {"image_batch_size": 5}, {"io_workers": 3}):
        assert all(
            np.array_equal(a, b.result.array)
            for a, b in zip(
                wanted, segrid.stream(tiny, pictures(5), **more, **OPTIONS), strict=True
            )
        )
    for name in ("image_batch_size", "io_workers"):
        with pytest.raises(ValueError, match=name):
            segrid.stream(tiny, [], **{name: 0})


def test_closing_stops_what_a_pipeline_does(tiny):
    """Twenty thousand boxes would take a core minutes."""
    small, large = pictures(2)
    boxes = np.tile([[1, 2, 30, 30]], (20_000, 1))
    running = segrid.stream(
        segrid.Pipeline(None, tiny),
        [small, large, large],
        options_for=lambda image, _: {"boxes": boxes[:1] if image is small else boxes},
    )
    next(running)
    began = time.perf_counter()
    running.close()
    assert time.perf_counter() - began < 3


def test_a_token_stops_calls_in_its_scope(tiny):
    image, token = pictures(1)[0], segrid.CancelToken()
    assert segrid.CancelToken.scopes() == []
    with token:
        assert (
            len(segrid.CancelToken.scopes()) == 1
            and len(tiny.predict(image, boxes=[1, 2, 30, 30])) == 1
        )
        token.cancel()
        for call in (
            lambda: tiny.predict(image, boxes=[1, 2, 30, 30]),
            lambda: tiny.encode(image),
            lambda: segrid.Pipeline(None, tiny)(image, boxes=[[1, 2, 9, 9]]),
        ):
            with pytest.raises(segrid.Cancelled):
                call()
        with pytest.raises(segrid.Cancelled), segrid.CancelToken():  # Outer scopes count, too.
            tiny.encode(image)
    assert len(tiny.predict(image, boxes=[1, 2, 30, 30])) == 1 and segrid.CancelToken.scopes() == []
    first, second = segrid.CancelToken(), segrid.CancelToken()
    first.__enter__()
    second.__enter__()
    # Two generators on one thread may leave their scopes in this order.
    first.__exit__(None, None, None)
    second.cancel()
    with pytest.raises(segrid.Cancelled):
        tiny.encode(image)
    second.__exit__(None, None, None)
    tiny.encode(image)


def test_a_scope_around_a_stream_stops_it(tiny):
    token, seen = segrid.CancelToken(), []
    # The outer scope stops the stream, too.
    with token, segrid.CancelToken(), pytest.raises(segrid.Cancelled):
        for one in segrid.stream(tiny, pictures(9), **OPTIONS):
            seen.append(one)
            token.cancel()
    assert len(seen) == 1 and seen[0].error is None


def test_closing_begins_nothing_more():
    begun = []

    def slow(image):
        begun.append(1)
        time.sleep(0.3)

    running = segrid.stream(slow, pictures(30), image_batch_size=1, in_flight=9)
    next(running)
    running.close()
    assert len(begun) <= 3


def test_a_models_own_cap_is_kept(tiny, four_threads):
    capped = tiny.with_threads(2)
    for model, options in (
        (capped, OPTIONS),
        (segrid.Pipeline(None, capped), {"boxes": np.tile([[1, 2, 30, 30]], (40, 1))}),
    ):
        with segrid.Trace() as trace:
            assert [
                s.error for s in segrid.stream(model, pictures(2), image_batch_size=1, **options)
            ] == [None, None]
        assert 1 <= trace.at_once("decode") <= 2


@pytest.mark.parametrize(
    "lone",
    [
        "a.png",
        b"a.png",
        bytearray(b"x"),
        memoryview(b"x"),
        Path("a.png"),
        np.zeros((8, 9, 3), np.uint8),
        np.zeros((8, 9), np.uint8),
        np.zeros(9, np.uint8),
        torch.zeros(3, 8, 9),
        np.float32(3),
        Image.new("RGB", (9, 8)),
        io.BytesIO(b"x"),
        io.StringIO("x"),
        None,
        5,
    ],
)
def test_a_lone_image_is_not_many(tiny, lone):
    """A single image is not streamed by characters, bytes, rows or lines: the call is an error."""
    with pytest.raises(
        TypeError, match=r"expected a list or another iterable of images, got .*pass \[image\]"
    ):
        segrid.stream(tiny, lone)


def test_arrays_and_columns_of_paths_are_many(tiny, tmp_path):
    path = str(tmp_path / "a.png")
    Image.new("RGB", (30, 20)).save(path)
    for many in (
        np.array([path, path]),
        np.array([path, Path(path)], object),
        *columns(path),
    ):
        assert [one.error for one in segrid.stream(tiny, many, **OPTIONS)] == [None, None]


def columns(path):
    """Columns of pandas, where it is installed."""
    try:
        import pandas
    except ImportError:
        return []
    return [pandas.Series([path] * 2), pandas.Series([path] * 2, dtype="string")]


def test_iterables_of_every_kind_are_many(tiny):
    images = np.stack([np.zeros((20, 30, 3), np.uint8)] * 2)

    class Dataset:
        def __getitem__(self, index):
            return images[index]

    for many in (
        images,
        list(images),
        tuple(images),
        iter(images),
        (i for i in images),
        dict(enumerate(images)).values(),
        Dataset(),
    ):
        assert [one.error for one in segrid.stream(tiny, many, **OPTIONS)] == [None, None]


def test_options_are_checked_before_the_first_image(tiny):
    """A misspelt option is one error of the call, and not an error of each image."""
    pipeline = segrid.Pipeline(lambda array: [], tiny)
    views = segrid.Views({"a": segrid.View("*")}, tiny)
    detector = segrid.Detector()

    def none():
        raise AssertionError("an image was taken")
        yield

    for model in (tiny, pipeline, detector, views):
        name = type(model).__name__
        with pytest.raises(TypeError, match=f"options: {name} has no option 'foo'; there are "):
            segrid.stream(model, none(), foo=4)
    with pytest.raises(TypeError, match="'point_per_side'; did you mean points_per_side"):
        segrid.stream(tiny, none(), point_per_side=4)
    with pytest.raises(TypeError, match="has no option 'crop_n_layers'"):  # of everything alone
        segrid.stream(tiny, none(), boxes=[0, 0, 9, 9], crop_n_layers=1)
    with pytest.raises(ValueError, match="points_per_side: must be from 1 to 500, got 0"):
        segrid.stream(tiny, none(), points_per_side=0)
    with pytest.raises(ValueError, match="threshold"):
        segrid.stream(pipeline, none(), threshold=7)
    for one in segrid.stream(
        tiny, pictures(1), options_for=lambda *_: {"boxes": [2, 2, 30, 30]}, multimask=True
    ):
        assert one.error is None and len(one.result) == 3
    seen = segrid.stream(tiny, pictures(1), progress=lambda _: None, **OPTIONS)
    assert [one.error for one in seen] == [None]
