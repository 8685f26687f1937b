"""Masks in each form are the engine's runs, bit for bit, and a mask without numbers is an error."""

import base64
import io
import weakref

import numpy as np
import pytest
import segrid
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from segrid.client.masks import sent_mask
from segrid.run_lengths import decode_rle
from segrid.serve.errors import NotFinite, ServiceError, engine_errors
from segrid.serve.mask_formats import (
    formatted,
    hint_logits,
    kept,
    label_map,
    read_mask,
    until_cancelled,
)
from segrid.serve.mask_rings import rings

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.binary(min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda data: (np.frombuffer(data, np.uint8) > 127).reshape(size)
    )
)


def rle_of(mask):
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_run_lengths_there_and_back(mask):
    assert np.array_equal(decode_rle(rle_of(mask)), mask)
    assert np.array_equal(decode_rle(sent_mask(mask)), mask)
    png = formatted(rle_of(mask), "png")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    assert picture.dtype == np.uint8 and np.array_equal(picture, mask * np.uint8(255))
    assert np.array_equal(read_mask("mask", png, mask.shape), mask)


def test_run_lengths_of_large_differences():
    random = np.random.default_rng(0)
    mask = np.repeat(random.random(400) > 0.5, random.integers(1, 40_000, 400))
    mask = mask[: len(mask) // 1000 * 1000].reshape(-1, 1000)
    assert np.array_equal(decode_rle(rle_of(mask)), mask)


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_rings_filled_by_the_even_odd_rule_are_the_mask(mask):
    assert np.array_equal(filled(rings(mask), mask.shape), mask)


def filled(found, shape):
    """A pixel is inside where a ray from its centre to the left crosses an odd number of edges."""
    inside = np.zeros(shape, bool)
    for ring in found:
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            assert (x0 == x1) != (y0 == y1), "edges are straight, and none is empty"
            if x0 == x1:
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


def test_rings_are_the_engines_outlines(tiny, coins):
    found = tiny.everything(coins, points_per_side=8)
    assert len(found) > 5
    for mask, parts in zip(found.array, found.polygons(), strict=True):
        theirs = sorted(outline(ring.tolist()) for part in parts for ring in part)
        assert sorted(outline(ring) for ring in rings(mask)) == theirs


def outline(ring):
    """The corners of a ring, whatever it begins with, as a set that can be compared."""
    return sorted(map(tuple, ring))


def test_rings_of_a_large_mask_are_fast():
    import time

    y, x = np.mgrid[:1080, :1920]
    begin = time.thread_time()
    assert len(rings(np.hypot(y - 540, x - 960) < 500)) == 1
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [4, 4], "counts": [3]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": "zz"},
        {"size": [4, 4], "counts": "\u00e9"},
        {"size": [4, 4], "counts": "oooooooooo"},
        {"size": [4, 4], "counts": [2**62, 2**62, 2**62, 2**62, 16]},
        {"size": [4, 4], "counts": []},
        {"size": [4, 5], "counts": [20]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"counts": [16]},
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(rle):
    with pytest.raises(ServiceError) as error:
        read_mask("mask", rle, (4, 4))
    assert error.value.status == 422 and "mask" in error.value.message


@pytest.mark.parametrize("text", ["", "!", base64.b64encode(b"GIF89a").decode()])
def test_pictures_that_are_no_png_are_refused(text):
    with pytest.raises(ServiceError, match="PNG"):
        read_mask("mask", text, (4, 4))


def test_label_map_has_16_bits_for_large_numbers():
    a, b = np.zeros((2, 4, 4), bool)
    a[:3], b[1, 1] = True, True
    picture = np.asarray(
        Image.open(io.BytesIO(label_map([rle_of(b), rle_of(a)], [300, 2], (4, 4))))
    )
    assert picture[1, 1] == 300 and picture[0, 0] == 2 and picture[3, 3] == 0
    with pytest.raises(ServiceError, match="65535"):
        label_map([rle_of(a)], [70_000], (4, 4))


def test_a_hint_leads_to_its_object(tiny, coins):
    """The hint of a mask that was found gives that mask again, better than no hint does."""
    click = {"points": [[150, 50]], "labels": [1]}
    mask = tiny.predict(coins, **click).array[0]
    hint = hint_logits(mask, tiny)
    assert hint.shape == (1, *tiny.low_res_size) and hint.min() == -10 and hint.max() == 10
    again = tiny.predict(coins, **click, mask_hints=hint).array[0]
    assert (again & mask).sum() / (again | mask).sum() > 0.8


class Fake:
    """Masks whose logits are not finite, as overflowing weights give them."""

    def __init__(self, masks, low_res):
        self._masks, self.low_res = masks, low_res

    def __len__(self):
        return len(self._masks)


def test_logits_that_are_no_numbers_name_frame_and_object(tiny, coins):
    masks = tiny.predict(coins, points=[[150, 50], [200, 60]])
    logits = masks.low_res.copy()
    logits[1, 3, 4] = np.nan
    with pytest.raises(NotFinite) as error:
        kept(Fake(masks, logits), masks.scores, 5, [3, 8])
    assert error.value.facts == {"frame": 5, "objects": [8]} and "frame 5" in error.value.message
    scores = masks.scores.copy()
    scores[0] = np.inf
    with pytest.raises(NotFinite) as error:
        kept(masks, scores, 5, [3, 8])
    assert error.value.facts == {"frame": 5, "objects": [3]}


def test_masks_of_overflowing_weights_are_errors_and_counted(
    started, settings, video_model, tmp_path
):
    """The weights of the memory are so large that the next frame overflows: the job fails with the
    frame and the object, the metric counts it, and no mask of that frame is shown."""
    from dataclasses import replace
    from pathlib import Path

    from safetensors.numpy import load_file, save_file

    from tests.serve.waiting import CLICK, finished, opened

    weights = load_file(Path(video_model) / "model.safetensors")
    weights["memory_temporal_positional_encoding"][:] = 3e38
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((Path(video_model) / "config.json").read_bytes())
    client = started(replace(settings, trackers=(f"bad={tmp_path}",)))
    address, _ = opened(client)
    assert client.post(f"{address}/objects", json=CLICK).status_code == 200
    job = finished(client, client.post(f"{address}/propagate", json={}).json()["job_id"])
    assert job["status"] == "failed" and job["error"]["kind"] == "not_finite", job
    assert job["error"]["frame"] == 1 and job["error"]["objects"] == [1]
    assert client.get(f"{address}/frames/0/masks").status_code == 200
    assert client.get(f"{address}/frames/1/masks").status_code == 404
    assert "segrid_serve_masks_not_finite_total 1.0" in client.get("/metrics").text


def test_a_prompt_whose_mask_is_no_number_names_its_object(client, monkeypatch):
    """The object that was prompted is named and not the other one; a new one is not kept."""
    from segrid.serve import video_session

    from tests.serve.waiting import CLICK, error_of, opened

    address, _ = opened(client)
    assert client.post(f"{address}/objects", json=CLICK).status_code == 200
    fails = RuntimeError("session: frame 0, object 2: the score is not a finite number")
    session = client.app.state.service.sessions.all()[0]
    add, kept_before = session.engine.add, video_session.kept
    monkeypatch.setattr(session.engine, "add", lambda *a, **k: (_ for _ in ()).throw(fails))
    answer = client.post(f"{address}/objects", json={**CLICK, "object_id": 2})
    error = error_of(answer, 500, "not_finite")
    assert (error["frame"], error["objects"]) == (0, [2])

    def none(masks, scores, frame, ids):
        raise NotFinite(frame, ids[-1:])

    monkeypatch.setattr(session.engine, "add", add)
    monkeypatch.setattr(video_session, "kept", none)
    answer = client.post(f"{address}/objects", json={**CLICK, "object_id": 3})
    assert error_of(answer, 500, "not_finite")["objects"] == [3]
    monkeypatch.setattr(video_session, "kept", kept_before)
    assert session.engine.ids == [1] == list(session.objects)


@pytest.mark.parametrize("where", ["", "session: frame 4, object 3: "])
def test_a_mask_of_the_engine_that_is_no_number(where):
    with pytest.raises(NotFinite) as caught, engine_errors():
        raise RuntimeError(f"{where}the model gave a mask whose score is not a finite number; its")
    assert caught.value.facts == ({"frame": 4, "objects": [3]} if where else {})
    with pytest.raises(RuntimeError, match="another"), engine_errors():
        raise RuntimeError("another fault")


def test_the_public_classes_are_enough():
    """The service is built on what `segrid` shows, and on no object of the engine."""
    from pathlib import Path

    for file in (Path(segrid.__file__).parent / "serve").rglob("*.py"):
        assert "_core" not in file.read_text(), file


def test_a_label_map_of_many_masks_holds_one_of_them_at_a_time(monkeypatch):
    from segrid.serve import mask_formats

    alive, most, decode = [], [], decode_rle

    def counted(rle):
        mask = decode(rle)
        alive.append(weakref.ref(mask))
        most.append(sum(one() is not None for one in alive))
        return mask

    monkeypatch.setattr(mask_formats, "decode_rle", counted)
    masks = [np.tri(40, 40, i, dtype=bool) for i in range(-30, 30)]
    label_map([rle_of(mask) for mask in masks], list(range(1, 61)), (40, 40))
    assert max(most) <= 2


def test_writing_masks_stops_when_it_is_cancelled():
    token, scope = segrid.CancelToken(), segrid.CancelToken()
    assert list(until_cancelled([1, 2], token)) == [1, 2]
    for one, passed in ((token, token), (scope, None)):
        with scope, pytest.raises(segrid.Cancelled):
            for item in until_cancelled(range(9), passed):
                assert item < 3
                if item == 2:
                    one.cancel()
