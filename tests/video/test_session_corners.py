"""Sessions where several things meet: prompts that are taken back, steps that stop half way, frames
that cannot be read, limits over many calls, long sessions in files."""

import contextlib
import threading
import time

import numpy as np
import pytest
import segrid
from segrid.video import snapshots
from segrid.video.sources import open_frames

from tests.video.clips import clip, drawn
from tests.video.test_session import CLICK, CLIP, opened


def test_points_are_limited_over_many_calls(tracker):
    """The cost of a prompt grows with the square of its points."""
    many = np.tile([[10.0, 20.0]], (600, 1))
    with opened(tracker) as session:
        session.add(1, points=many, labels=np.ones(600, int))
        before = session.masks(0).array
        with pytest.raises(ValueError, match="1200 points in frame 0; at most 1024 .* replace="):
            session.add(1, points=many, labels=np.ones(600, int))
        assert np.array_equal(session.masks(0).array, before)
        session.add(1, points=many, labels=np.ones(600, int), replace=True)


def test_a_step_that_is_cancelled_leaves_no_half_frame(tracker):
    with opened(tracker) as session:
        for known in range(1, 25):
            session.add(known, points=[[3 * known, 20]])
        run = session.propagate()
        next(run)
        begin = time.monotonic()
        next(run)
        usual, cancelled = time.monotonic() - begin, 0
        for share in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8):
            token = segrid.CancelToken()
            timer = threading.Timer(share * usual, token.cancel)
            timer.start()
            with contextlib.suppress(segrid.Cancelled):
                next(session.propagate(start=2, cancel=token))
                timer.cancel()
                break
            cancelled += 1
            assert session.tracked_frames == [0, 1]
        assert cancelled, "vacuous"


def test_a_run_is_cancelled_while_prompted_frames_are_encoded(tracker):
    token = segrid.CancelToken()
    with opened(tracker) as session:
        for frame in range(12):
            session.add(1, frame, points=CLICK)
        token.cancel()
        with pytest.raises(segrid.Cancelled):
            session.propagate(cancel=token)
        assert len(list(session.propagate(frames=2))) == 3


def test_an_object_whose_prompts_were_taken_back_gets_new_ones(tracker):
    """In any frame, also in one that was followed."""
    with opened(tracker) as session, opened(tracker) as fresh:
        session.add(1, points=CLICK)
        list(session.propagate(frames=6))
        session.clear(1, 0)
        with pytest.raises(ValueError, match="object 1 has no prompt; add one"):
            session.propagate()
        session.add(1, 4, points=[[30, 24]], anew=True)
        fresh.add(1, 4, points=[[30, 24]])
        assert np.array_equal(session.frame(4).low_res, fresh.frame(4).low_res)
        assert [frame.index for frame in session.propagate(frames=3)] == [4, 5, 6, 7]


def test_a_correction_is_not_forgotten_as_near_to_itself(tracker):
    with opened(tracker, forget_near_prompts=True) as session:
        session.add(1, points=CLICK)
        list(session.propagate(frames=12))
        session.add(1, 10, points=[[30, 24]])
        corrected = session.masks(10).array
        next(session.propagate(start=11, frames=0))
        assert np.array_equal(session.masks(10).array, corrected)
        assert session.tracked_frames == [0, 1, 2, 10, 11]  # 7 frames before were near to it


def test_a_new_object_shares_no_pixel_with_masks_whose_logits_were_dropped(tracker):
    with opened(tracker, non_overlap=True, history=0) as session:
        session.add(1, boxes=[0, 0, 95, 63])
        list(session.propagate(frames=20))
        old = session.masks(2).array
        session.add(2, 2, boxes=[10, 10, 90, 50])
        both = session.masks(2).array
        assert old.any() and both[1].any() and both.sum(0).max() == 1
        assert (both[0] <= old[0]).all()


def test_a_file_that_is_cut_off_is_an_error_in_every_run(tracker, tmp_path):
    """Also after its end was noticed: what can be read of it is not the whole video."""
    whole = clip(tmp_path / "a.mkv")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 8 // 10])
    with tracker.open(cut) as session:
        session.add(1, points=CLICK)
        done = []
        for _ in range(2):
            found = []
            with pytest.raises(segrid.CorruptFileError, match="frame"):
                for frame in session.propagate():
                    found.append(frame.index)
            done.append(found)
        assert done[0] == done[1] and len(done[0]) > 3


def test_an_iterator_that_fails_has_not_ended(tracker):
    def failing():
        yield from CLIP[:5]
        raise OSError(5, "the camera is gone")

    with tracker.open(failing(), store_bytes=1 << 24) as session:
        session.add(1, points=CLICK)
        for _ in range(2):
            with pytest.raises(OSError, match="the camera is gone"):
                list(session.propagate())
        assert session.tracked_frames == [0, 1, 2, 3, 4]


def test_an_avi_that_was_written_into_a_pipe_is_read_to_its_end(tmp_path):
    """Its header has no sizes."""
    import av

    class Pipe:
        def __init__(self):
            self.data = bytearray()

        def write(self, data):
            self.data += data
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.height, stream.width = drawn(0).shape[:2]
        for i in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn(i), "rgb24")))
        container.mux(stream.encode())
    assert pipe.data[4:8] == b"\xff\xff\xff\xff"
    with open_frames(bytes(pipe.data)) as frames:
        assert [frames.read(i).shape for i in range(12)] == [drawn(0).shape] * 12
        with pytest.raises(IndexError, match="there are 12 frames"):
            frames.read(12)


def test_a_long_session_fits_into_a_file(tmp_path):
    """Its masks are no entries of the header, which may have 100 MB."""
    masks = [
        {
            "list": "followed",
            "frame": frame,
            "score": 1.5,
            "iou": 0.25,
            "prompted": False,
            "counts": b"%d" % frame * 25_000,
            "logits": None,
            "memory": None,
            "pointer": np.full(8, frame, np.float32),
        }
        for frame in range(1500)
    ]
    track = {"id": 3, "visited": [(5, True)], "prompts": [(0, [(1.0, 2.0)], [1])], "masks": masks}
    kept = snapshots.Snapshot("model", None, None, (4, 6), {}, {3: "a"}, {}, [track])
    path = tmp_path / "long"
    snapshots.write_snapshot(path, kept)
    assert path.stat().st_size > 100e6
    assert int.from_bytes(path.read_bytes()[:8], "little") < 10_000
    found = snapshots.read_snapshot(path).tracks[0]
    assert found["visited"] == track["visited"] and found["prompts"] == track["prompts"]
    for one, other in zip(found["masks"], masks, strict=True):
        assert np.array_equal(one.pop("pointer"), other.pop("pointer"))
    assert found["masks"] == masks
