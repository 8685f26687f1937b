"""Sessions: threads, cancelling, what is refused, and objects that share no pixel."""

import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import segrid
import torch
from segrid.video.frames import FrameNotFound

from tests.video.clips import SIZE, drawn
from tests.video.test_session import CLICK, CLIP, FRAMES, equal, low_res, opened


def test_objects_that_overlap_are_separated(tracker):
    with opened(tracker) as free, opened(tracker, non_overlap=True) as apart:
        for session in (free, apart):
            for id, box in enumerate(([5, 5, 60, 60], [10, 10, 90, 50], [0, 0, 95, 63])):
                session.add(id, boxes=box)
        for a, b in zip(free.propagate(frames=4), apart.propagate(frames=4), strict=True):
            assert np.array_equal(a.low_res, b.low_res)
            logits = torch.nn.functional.interpolate(
                torch.tensor(a.low_res)[None], SIZE, mode="bilinear"
            )[0]
            first = logits.argmax(0, keepdim=True) == torch.arange(3)[:, None, None]
            expected = ((logits > 0) & first).numpy()
            assert (b.masks.array != expected).sum() <= 2  # ties in the last bit
            assert b.masks.array.sum(0).max() == 1
            assert np.array_equal(b.masks.areas, b.masks.array.sum((1, 2)))
            assert a.masks.array.sum(0).max() > 1


def test_another_thread_is_refused_by_name(tracker):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        inside, leave, errors = threading.Event(), threading.Event(), []

        def slow(index):
            if index == 5:
                inside.set()
                leave.wait(30)
            return CLIP[index]

        with opened(tracker, slow, long_side=None) as busy:
            busy.add(1, points=CLICK)
            thread = threading.Thread(target=lambda: busy.add(1, 5, points=CLICK))
            thread.start()
            inside.wait(30)
            calls = {
                "add": lambda: busy.add(2, 3, points=CLICK),
                "ids": lambda: busy.ids,
                "prompted_frames": lambda: busy.prompted_frames,
                "tracked_frames": lambda: busy.tracked_frames,
                "close": busy.close,
            }
            for call in calls.values():
                try:
                    call()
                except RuntimeError as error:
                    errors.append(str(error))
            leave.set()
            thread.join()
            assert busy.ids == [1]
        assert [error.split(":")[0] for error in errors] == list(calls)
        assert all("another thread uses this session" in error for error in errors)


def test_sessions_of_one_tracker_run_beside_each_other(tracker):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        expected = low_res(session.propagate())
    results = [None] * 3

    def follow(i):
        with opened(tracker) as session:
            session.add(1, points=CLICK)
            results[i] = low_res(session.propagate())

    threads = [threading.Thread(target=follow, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(equal(result, expected) for result in results)


def test_bits_do_not_depend_on_threads(tracker):
    results = []
    for model in (tracker.with_threads(1), tracker):
        with opened(model) as session:
            session.add(1, points=CLICK)
            results.append(low_res(session.propagate(frames=6)))
    assert equal(*results)


def test_cancelling_stops_the_next_step_and_keeps_the_rest(tracker):
    token = segrid.CancelToken()
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        run = session.propagate(cancel=token)
        for _ in range(4):
            next(run)
        token.cancel()
        with pytest.raises(segrid.Cancelled) as stopped:
            next(run)
        assert stopped.value.partial is None  # `everything` has one
        assert session.tracked_frames == [0, 1, 2, 3]
        assert next(session.propagate(start=4)).index == 4


def refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_what_does_not_fit_is_refused(tracker):
    assert "Tracker: this model has no memory of video" in str(
        pytest.raises(NotImplementedError, segrid.Tracker, "tiny").value
    )
    refused(lambda: opened(tracker, memory=3), TypeError, "unknown option 'memory'; the options")
    refused(lambda: opened(tracker, memory_frames=9), ValueError, "has learned 7 frames, got 9")
    refused(lambda: opened(tracker, conditioning_frames=1), ValueError, "at least 2, got 1")
    for option in ("pointers", "memory_stride", "history", "max_objects", "max_hole_area"):
        wrong = {option: 2**62}
        refused(lambda wrong=wrong: opened(tracker, **wrong), ValueError, f"{option}: .* at most")
    with opened(tracker, max_objects=1) as s:
        refused(lambda: next(s.propagate()), ValueError, "no object has a prompt yet")
        refused(lambda: s.add(1), ValueError, "no prompt; give points, boxes or mask")
        refused(lambda: s.add(1, points=[[200, 5]]), ValueError, "is not inside")
        refused(lambda: s.add(1, points=CLICK, labels=[5]), ValueError, "label")
        refused(lambda: s.add(1, points=CLICK, mask=np.ones(SIZE)), ValueError, "give one of them")
        refused(lambda: s.add(1, mask=np.ones((3, 3))), ValueError, "the size of the video")
        refused(lambda: s.add(1, boxes=[[1, 2, 3, 4]] * 2), ValueError, "one object has one box")
        refused(lambda: s.add(1, FRAMES, points=CLICK), FrameNotFound, f"no frame {FRAMES}")
        refused(lambda: s.masks(0), ValueError, "no object was prompted or followed in frame 0")
        s.add(1, points=CLICK)
        refused(lambda: s.add(1, boxes=[1, 2, 30, 40]), ValueError, "a box must come before them")
        s.add(1, boxes=[1, 2, 30, 40], replace=True)
        refused(lambda: s.add(2, points=CLICK), ValueError, r"at most 1 objects \(max_objects\)")
        refused(lambda: s.remove(4), ValueError, "no object has the id 4; the objects are 1")
        refused(lambda: s.propagate("up"), ValueError, "expected forward, backward or both")
        up = dict(points=CLICK, direction="up")
        refused(lambda: s.add(1, **up), ValueError, "expected forward or backward, got 'up'")
        refused(lambda: s.propagate(start=99), FrameNotFound, "no frame 99")
        refused(lambda: s.propagate(frames=-1), ValueError, "at least 0")
        s.clear(1, 0)
        refused(lambda: s.propagate(), ValueError, "object 1 has no prompt; add one or remove")


def test_a_refused_prompt_changes_nothing(tracker):
    with opened(tracker) as s:
        for _ in range(2):
            with pytest.raises(ValueError):
                s.add(5, points=[[500, 500]])
            assert s.ids == []
            with pytest.raises(ValueError):
                s.add(5, mask=np.ones((3, 3)))
            assert s.ids == []


@pytest.mark.parametrize("id", [1, 99])  # a known object, and a new one
def test_a_prompt_that_is_cancelled_at_its_end_changes_nothing(tracker, id):
    """The masks of all objects come last, and take most of the time here."""
    with tracker.open([drawn(0, (1200, 1600))], long_side=None) as s:
        took = []
        for known in range(1, 25):
            begin = time.monotonic()
            s.add(known, points=[[30 + known, 500]])
            took.append(time.monotonic() - begin)
        usual, before, cancelled = min(took[-8:]), s.masks(0).array.copy(), 0
        for share in (0.4, 0.5, 0.6, 0.7, 0.8):
            token = segrid.CancelToken()
            timer = threading.Timer(share * usual, token.cancel)
            timer.start()
            with contextlib.suppress(segrid.Cancelled), token:
                s.add(id, points=[[400, 300]])
                timer.cancel()
                break
            cancelled += 1
            assert s.ids == list(range(1, 25)) and np.array_equal(s.masks(0).array, before)
        assert cancelled, "vacuous"


def test_many_pointers_cost_no_time(tracker):
    """Frames that were never found are not looked for: neither to the end of a video of unknown
    length, nor beyond its beginning."""
    images = (drawn(i) for i in range(6))
    with tracker.open(images, pointers=2**40) as few:
        few.add(1, 3, points=CLICK)
        assert len(list(few.propagate("both"))) == 6


def test_anywhere_takes_what_sam2_takes(tracker):
    """tests/tracking has the results; NaN stays refused."""
    with opened(tracker) as s:
        for prompt in (
            dict(points=[[500, -3]], labels=[7]),
            dict(boxes=[90, 50, 20, -10], replace=True),
            dict(mask=np.ones((3, 3), bool)),
        ):
            refused(lambda p=prompt: s.add(1, **p), ValueError, "")
            assert len(s.add(1, anywhere=True, **prompt)) == 1
        nowhere = dict(points=[[np.nan, 1]], anywhere=True)
        refused(lambda: s.add(1, **nowhere), ValueError, "is not finite")
        refused(lambda: s.add(1, mask=np.ones((0, 3)), anywhere=True), ValueError, "mask")


def test_a_correction_looks_where_it_is_told(tracker):
    """By itself, the way the frame was followed last. What was found there before counts, too,
    unless the clicks count alone."""

    def corrected(**how):
        with opened(tracker) as s:
            s.add(1, frame=6, points=CLICK)
            list(s.propagate())
            list(s.propagate("backward"))
            frame = how.pop("frame", 3)
            return s.add(1, frame, points=[[60, 40]], labels=[0], **how).low_res

    alone = corrected()
    assert np.array_equal(alone, corrected(direction="backward"))
    assert not np.array_equal(alone, corrected(direction="forward"))
    assert not np.array_equal(alone, corrected(anew=True))
    with opened(tracker) as s:  # a frame that was prompted begins anew, without memory
        fresh = s.add(1, 6, points=[[60, 40]], labels=[0]).low_res
    assert np.array_equal(fresh, corrected(frame=6, anew=True, replace=True))
    assert not np.array_equal(fresh, corrected(frame=6, replace=True))


def test_the_gil_is_free_while_a_step_computes(tracker):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        run = session.propagate()
        counted, stop = 0, threading.Event()

        def follow():
            for _ in range(6):
                next(run)
            stop.set()

        thread = threading.Thread(target=follow)
        thread.start()
        while not stop.is_set():
            counted += 1
            time.sleep(0.001)
        thread.join()
        assert counted > 5


def test_plain_definitions_follow_alike(video_model, tracker, plain_device, tmp_path):
    """On devices, and in the definitions that run there; a snapshot goes on with the same bits."""
    path = tmp_path / "session.safetensors"
    other = segrid.Tracker(video_model, device=plain_device, precision="fp32")
    with opened(tracker) as ours, opened(other) as session:
        for one in (ours, session):
            one.add(1, points=CLICK)
            one.add(2, boxes=[5, 5, 40, 30])
        expected, run, found = low_res(ours.propagate(frames=5)), session.propagate(frames=5), []
        for frame in run:
            found.append((frame.index, frame.low_res))
            if frame.index == 2:
                session.snapshot(path)
    for (i, a), (j, b) in zip(expected, found, strict=True):
        assert i == j and np.abs(a - b).max() < 1e-2 * np.abs(a).max()
    with other.restore(path, CLIP) as again:
        assert equal(low_res(again.propagate(start=3, frames=2)), found[3:])


def test_a_score_that_is_no_number_is_no_empty_mask(video_model, tmp_path):
    from safetensors.torch import load_file
    from safetensors.torch import save_file as save_weights

    weights = load_file(Path(video_model) / "model.safetensors")
    weights["memory_temporal_positional_encoding"][:] = 3e38
    save_weights(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((Path(video_model) / "config.json").read_bytes())
    with opened(segrid.Tracker(tmp_path, precision="fp32")) as session:
        session.add(1, points=CLICK)
        steps = session.propagate()
        next(steps)  # the prompted frame
        with pytest.raises(RuntimeError, match="frame 1, object 1: .* not a finite number"):
            next(steps)
        assert session.tracked_frames == [0]
