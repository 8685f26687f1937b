"""Frames that are read ahead on a thread."""

import gc
import itertools
import threading
import time

import numpy as np
import pytest
from segrid.video.frames import FrameNotFound
from segrid.video.prefetch import Prefetch
from segrid.video.sources import open_frames

from tests.video.clips import clip, drawn


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("segrid-frames")]


@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize("step", [1, -1])
def test_the_same_frames_in_order(tmp_path, ahead, step):
    frames = open_frames(clip(tmp_path / "a.mp4"))
    indices = range(30)[::step]
    with Prefetch(frames, indices, ahead=ahead) as reading:
        found = list(reading)
    assert [i for i, _ in found] == list(indices) and not threads()
    assert all(np.array_equal(frame, frames.read(i)) for i, frame in found)


def test_frames_are_read_while_others_are_used():
    read = []

    def source(index):
        read.append(index)
        return drawn(index)

    frames = open_frames(source)
    with Prefetch(frames, itertools.count(1), ahead=2) as reading:
        assert next(reading)[0] == 1
        deadline = time.monotonic() + 10
        while len(read) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert read == [0, 1, 2, 3]  # two ahead, and no more
        assert next(reading)[0] == 2
    assert not threads()


def test_errors_come_where_their_frame_would():
    frames = open_frames([drawn(0), drawn(1), drawn(2)[:9], drawn(3)])
    reading = Prefetch(frames, range(4))
    assert [next(reading)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="frame 2: 96 x 9 pixels"):
        next(reading)
    assert list(reading) == [] and not threads()
    assert np.array_equal(frames.read(3), drawn(3))


def test_the_end_of_the_video_is_frame_not_found():
    reading = Prefetch(open_frames(drawn(i) for i in range(3)), itertools.count())
    found = []
    with pytest.raises(FrameNotFound) as error:
        found.extend(reading)
    assert error.value.count == 3 and not threads()


def test_closing_waits_for_the_read_that_runs():
    entered, leave = threading.Event(), threading.Event()

    def slow(index):
        if index == 1:
            entered.set()
            leave.wait(30)
        return drawn(index)

    frames = open_frames(slow)
    reading = Prefetch(frames, range(99), ahead=2)
    next(reading)
    assert entered.wait(30)
    timer = threading.Timer(0.05, leave.set)
    timer.start()
    reading.close(), reading.close()
    assert leave.is_set() and not threads()
    assert list(reading) == []


def test_one_that_is_not_closed_leaves_no_thread():
    reading = Prefetch(open_frames(lambda i: drawn(i)), itertools.count())
    next(reading)
    del reading
    gc.collect()
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()


def test_ahead_is_checked():
    with pytest.raises(ValueError, match="ahead: expected at least 1"):
        Prefetch(open_frames([drawn(0)]), range(1), ahead=0)
