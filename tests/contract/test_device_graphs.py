"""Graphs of a device: small batches of prompts are launched as one. The fake device notes a graph's
operations and refuses what CUDA refuses meanwhile; what was noted and not launched is no number."""

import ctypes

import numpy as np
import pytest
import segrid
from segrid import _core, _graphs

from tests import models

SIZES = [(60, 80), (90, 70)]


class FakeGraph:
    def __init__(self, fake):
        self.fake, self.graph = fake, None

    def begin(self, beside):
        assert beside is None or isinstance(beside, FakeGraph)
        if not self.fake.fake_graph_begin():
            raise RuntimeError("graphs must be captured on a non-default stream")

    def end(self):
        self.fake.fake_graph_end.restype = ctypes.c_void_p
        self.graph = self.fake.fake_graph_end()

    def failed(self, error):
        return f"error {error}"

    @property
    def launcher(self):
        return ctypes.cast(self.fake.fake_graph_launch, ctypes.c_void_p).value, self.graph

    def __del__(self):
        if self.graph is not None:
            self.fake.fake_graph_free(ctypes.c_void_p(self.graph))


@pytest.fixture
def graphs(fake, monkeypatch):
    """The fake device has graphs; returns the numbers of graphs captured and launched."""
    fake.fake_operations.restype = ctypes.c_int64
    monkeypatch.setitem(_graphs.MAKERS, "fake", lambda: FakeGraph(fake))
    _core.reset_device_graphs()
    yield lambda: tuple(_core.device_graphs()[name] for name in ("captured", "launched"))
    _core.reset_device_graphs()


@pytest.fixture(params=["sam", "sam2"])
def folder(request, tmp_path):
    return getattr(models, request.param).make("small", tmp_path)


def picture(size=SIZES[0]):
    return np.random.default_rng(5).integers(0, 255, (*size, 3), dtype=np.uint8)


def points(count):
    return np.random.default_rng(count).uniform(3, 55, (count, 1, 2))


def same(found, expected):
    assert np.abs(found.low_res).max() > 0.1, "vacuous"
    assert np.abs(found.low_res - expected.low_res).max() <= 1e-4 * np.abs(expected.low_res).max()
    assert np.allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("multimask", [False, True])
def test_masks_are_those_without_graphs(graphs, folder, multimask):
    """Batches of 1 to 20 prompts; those of a bucket share its graphs, 17 and more have none."""
    on_device = segrid.Segmenter(folder, device="fake", precision="fp32")
    plain = segrid.Segmenter(folder, device="cpu-plain", precision="fp32")
    for size in SIZES:
        a, b = on_device.encode(picture(size)), plain.encode(picture(size))
        for count in (1, 1, 1, 3, 4, 3, 9, 12, 20, 20):
            call = dict(points=points(count), multimask=multimask)
            same(on_device.predict(a, **call), plain.predict(b, **call))
    assert _core.device_graphs()["refused"] == ""
    captured, launched = graphs()
    assert captured == 2 * 3 and launched > 2 * captured, "two for each of the buckets 1, 4, 16"


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cuda_has_graphs(folder, precision):
    _core.reset_device_graphs()
    on_device = segrid.Segmenter(folder, device="cuda", precision=precision)
    plain = segrid.Segmenter(folder, device="cpu-plain", precision="fp32")
    worst = 1e-4 if precision == "fp32" else 3e-2
    for count in (1, 1, 1, 3, 4, 3, 12, 12, 20):
        call = dict(points=points(count), multimask=True)
        a, b = (m.predict(picture(), **call).low_res for m in (on_device, plain))
        assert np.abs(a - b).max() <= worst * np.abs(b).max()
    counts = _core.device_graphs()
    assert counts["refused"] == "" and counts["captured"] == 6 and counts["launched"] > 6


def test_hints_and_several_points(graphs, folder):
    on_device = segrid.Segmenter(folder, device="fake", precision="fp32")
    plain = segrid.Segmenter(folder, device="cpu-plain", precision="fp32")
    a, b = on_device.encode(picture()), plain.encode(picture())
    hint = plain.predict(b, points=[[20, 20]]).low_res
    for _ in range(3):
        for call in (
            dict(points=[[20, 20]], mask_hints=hint),
            dict(points=[[[20, 20], [40, 30], [7, 8]]], labels=[[1, 0, 1]]),
            dict(boxes=[[5, 5, 50, 40]], points=[[[20, 20]]]),
        ):
            same(on_device.predict(a, **call), plain.predict(b, **call))
    captured, launched = graphs()
    assert captured >= 4 and launched > captured and _core.device_graphs()["refused"] == ""


def test_a_click_is_two_launches(graphs, fake, folder):
    """One for what is read of the image, one for the masks; the rest prepares and scans."""
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    embedding = segmenter.encode(picture())
    counts = []
    for _ in range(4):
        fake.fake_operations()
        segmenter.predict(embedding, points=[[20, 20]])
        counts.append(fake.fake_operations())
    assert counts[2] == counts[3] < counts[0] / 2, counts
    assert graphs() == (2, 2 * 3)


def test_a_later_call_does_not_change_earlier_results(graphs, folder):
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    embedding = segmenter.encode(picture())
    for _ in range(3):
        first = segmenter.predict(embedding, points=[[20, 20]])
        kept = first.low_res.copy()
        segmenter.predict(embedding, points=[[40, 50]])
        assert np.array_equal(first.low_res, kept)


def test_what_cannot_be_captured_is_computed(graphs, fake, folder, monkeypatch):
    """The reason is told, and not tried again."""
    tries = []

    def fails():
        tries.append(1)
        raise RuntimeError("driver too old")

    monkeypatch.setitem(_graphs.MAKERS, "fake", fails)
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    plain = segrid.Segmenter(folder, device="cpu-plain", precision="fp32")
    for _ in range(4):
        call = dict(points=points(2))
        same(segmenter.predict(picture(), **call), plain.predict(picture(), **call))
    assert "driver too old" in _core.device_graphs()["refused"]
    assert len(tries) == 1 and graphs() == (0, 0)


def test_an_error_while_noting_ends_the_graph(graphs, fake, folder, monkeypatch):
    """The device thread's stream works as before."""

    class Short(FakeGraph):
        def end(self):
            super().end()
            raise RuntimeError("too many nodes")

    monkeypatch.setitem(_graphs.MAKERS, "fake", lambda: Short(fake))
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    plain = segrid.Segmenter(folder, device="cpu-plain", precision="fp32")
    for _ in range(3):
        same(
            segmenter.predict(picture(), points=[[9, 9]]), plain.predict(picture(), points=[[9, 9]])
        )
    assert "too many nodes" in _core.device_graphs()["refused"]


def test_a_failed_launch_is_computed(graphs, fake, folder, monkeypatch):
    fails = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 719)

    class Unlaunched(FakeGraph):
        @property
        def launcher(self):
            return ctypes.cast(fails, ctypes.c_void_p).value, self.graph

    monkeypatch.setitem(_graphs.MAKERS, "fake", lambda: Unlaunched(fake))
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    plain = segrid.Segmenter(folder, device="cpu-plain", precision="fp32")
    call = dict(points=points(3))
    for _ in range(3):
        same(segmenter.predict(picture(), **call), plain.predict(picture(), **call))
    assert "error 719" in _core.device_graphs()["refused"]


def test_memory_that_runs_out_while_noting(graphs, fake, folder, monkeypatch):
    """Nothing is refused for good: the next call that has memory gets its graph."""

    class Greedy(FakeGraph):
        def begin(self, beside):
            super().begin(beside)
            fake.fake_limit(fake.fake_held())

        def end(self):
            fake.fake_limit(2 << 30)
            super().end()

    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    embedding = segmenter.encode(picture())
    call = dict(points=points(16))
    expected = segmenter.predict(embedding, **call)
    monkeypatch.setitem(_graphs.MAKERS, "fake", lambda: Greedy(fake))
    for _ in range(4):
        same(segmenter.predict(embedding, **call), expected)
    assert _core.device_graphs() == {"captured": 0, "launched": 0, "refused": ""}
    monkeypatch.setitem(_graphs.MAKERS, "fake", lambda: FakeGraph(fake))
    for _ in range(3):
        same(segmenter.predict(embedding, **call), expected)
    captured, launched = graphs()
    assert captured == 2 and launched >= 2 and _core.device_graphs()["refused"] == ""


def test_they_can_be_switched_off(graphs, folder, monkeypatch):
    monkeypatch.setenv("SEGRID_GRAPHS", "0")
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    for _ in range(3):
        segmenter.predict(picture(), points=[[20, 20]])
    assert _core.device_graphs() == {"captured": 0, "launched": 0, "refused": ""}


def test_their_memory_goes_with_the_model(graphs, fake, folder):
    held = fake.fake_held()
    segmenter = segrid.Segmenter(folder, device="fake", precision="fp32")
    loaded = fake.fake_held()
    for _ in range(3):
        segmenter.predict(picture(), points=[[20, 20]])
    assert fake.fake_held() > loaded, "vacuous"
    del segmenter
    assert fake.fake_held() == held


def test_a_batch_that_does_not_fit_frees_them(graphs, fake, folder):
    """Also those of another model: the batch has their memory then."""
    segmenter, other = (segrid.Segmenter(folder, device="fake", precision="fp32") for _ in range(2))
    embedding = segmenter.encode(picture())
    before = fake.fake_held()
    for count in (1, 1, 1, 16, 16, 16):
        other.predict(embedding, points=points(count))
    kept = fake.fake_held()
    assert kept > before + (1 << 20), "vacuous"
    fake.fake_lie(8 << 30)
    fake.fake_limit(kept + (1 << 19))
    with pytest.warns(RuntimeWarning, match="prompts went in batches"):
        segmenter.predict(embedding, points=points(64))
    assert fake.fake_held() < kept
