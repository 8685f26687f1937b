"""What a session says of arguments that do not fit, and of calls that meet each other."""

import threading

import numpy as np
import pytest
from segrid.video.frames import FrameNotFound
from segrid.video.snapshots import read_snapshot

from tests.video.clips import SIZE, encode
from tests.video.test_session import CLICK, CLIP, FRAMES, opened


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (dict(points=[[[6, 9]]]), r"points: expected \(K, 2\).* got shape \(1, 1, 2\)"),
        (dict(points=np.empty((0, 2))), r"points: expected \(K, 2\).* got shape \(0, 2\)"),
        (dict(points=CLICK, labels=[1, 1]), r"labels: expected one for each point, \(1,\), got"),
        (dict(mask=np.ones((1, *SIZE))), r"mask: .*got shape \(1, 64, 96\); take .* mask\[0\]"),
        (dict(mask=np.ones((3, 5))), r"mask: must be .* = \(64, 96\).* got \(3, 5\)"),
        (dict(boxes=[30, 20, 10, 40]), r"reversed; boxes are .* with x0 < x1 and y0 < y1$"),
        (dict(points=[[np.inf, 9]], anywhere=True), r"\(inf, 9\) is not finite"),
    ],
)
def test_prompts_that_do_not_fit_are_named_with_their_shape(tracker, prompt, says):
    with opened(tracker) as session, pytest.raises(ValueError, match=says):
        session.add(1, **prompt)


def test_options_and_numbers_that_do_not_fit_are_named(tracker):
    for options, says in [
        (dict(non_overlap="no"), "non_overlap: must be True or False, got 'no'"),
        (dict(memory_stride=1.5), "memory_stride: must be a whole number, got 1.5"),
        (dict(history=None), "history: must be a whole number, got None"),
        (dict(max_objects=2**63), "max_objects: must be a whole number"),
    ]:
        with pytest.raises(ValueError, match=says):
            opened(tracker, **options)
    with opened(tracker) as session, pytest.raises(ValueError, match="id: must be .* 64 bits"):
        session.add(2**63, points=CLICK)


def test_numpys_numbers_are_options_that_a_snapshot_keeps(tracker, tmp_path):
    options = dict(memory_frames=np.int64(3), non_overlap=np.bool_(True))
    with opened(tracker, **options) as session:
        session.add(1, points=CLICK)
        session.snapshot(tmp_path / "kept")
    kept = read_snapshot(tmp_path / "kept")
    assert kept.options == {"memory_frames": 3, "non_overlap": True}
    tracker.restore(kept, CLIP).close()


def test_a_closed_session_says_so(tracker):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        run = session.propagate()
        next(run)
    for name, call in {
        "add": lambda: session.add(1, points=CLICK),
        "propagate": session.propagate,
        "step": lambda: next(run),
        "masks": lambda: session.masks(0),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: this session is closed; open another one"):
            call()
    session.close()


def test_an_export_has_only_frames_that_are_there(tracker, tmp_path):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        for frames in ([0, FRAMES], [-1]):
            with pytest.raises(FrameNotFound, match=str(frames[-1])):
                session.export(rle=tmp_path / "masks.json", frames=frames)
        with pytest.raises(ValueError, match="export: no frames to write"):
            session.export(table=tmp_path / "t.csv", frames=[])
        with pytest.raises(ValueError, match=r"rle: expected a \.json file, got .*x\.txt"):
            session.export(rle=tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


def test_sources_that_are_no_videos_say_what_to_do(tracker, tmp_path):
    path = tmp_path / "clip.mp4"
    encode(CLIP[:3], str(path))
    with pytest.raises(ValueError, match=r"rtsp://a/b: addresses are not opened; .*Tracker\.live"):
        tracker.open("rtsp://a/b")
    with open(path, "rb") as file, pytest.raises(TypeError, match="an open file; pass its path"):
        tracker.open(file)


class Slow:
    """A video whose frame 5 waits to be read until `go_on` is set."""

    def __init__(self):
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __call__(self, index):
        if index == 5:
            self.inside.set()
            self.go_on.wait(30)
        return CLIP[index]


def held(session, slow):
    """A thread that prompts frame 5, and is inside that call."""
    thread = threading.Thread(target=lambda: session.add(2, 5, points=CLICK))
    thread.start()
    assert slow.inside.wait(30)
    return thread


def test_a_run_waits_for_another_threads_call(tracker):
    """The job goes on, whatever its callers do meanwhile; they are the ones who get an error."""
    slow = Slow()
    with opened(tracker, slow, long_side=None) as session:
        session.add(1, points=CLICK)
        run = session.propagate(frames=3)
        next(run)
        thread = held(session, slow)
        threading.Timer(0.3, slow.go_on.set).start()
        with pytest.raises(RuntimeError, match=r"masks: another thread uses .* take_turns\(\)"):
            session.masks(0)
        assert [frame.index for frame in run] == [1, 2, 3]
        thread.join()
        assert session.ids == [1, 2]


def test_calls_that_take_turns_wait(tracker):
    slow = Slow()
    with opened(tracker, slow, long_side=None) as session:
        session.take_turns()
        session.add(1, points=CLICK)
        thread = held(session, slow)
        threading.Timer(0.3, slow.go_on.set).start()
        assert session.ids == [1, 2]
        thread.join()


def test_a_call_inside_a_call_of_its_own_thread_never_waits(tracker):
    """It would wait for ever."""
    errors = []

    def frames(index):
        if index == 2:
            try:
                session.masks(0)
            except RuntimeError as error:
                errors.append(str(error))
        return CLIP[index]

    with opened(tracker, frames, long_side=None) as session:
        session.take_turns()
        session.add(1, points=CLICK)
        session.add(1, 2, points=CLICK)
    assert len(errors) == 1 and "masks: called from within add of the same session" in errors[0]
