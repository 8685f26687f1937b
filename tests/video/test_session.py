"""Sessions: what they keep, refuse, tell and write. Their masks are held against the originals in
tests/parity."""

import ctypes
import json
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
import segrid
from segrid.video.frames import FrameNotFound
from segrid.video.runs import length_of

from tests.video.clips import SIZE, drawn, encode

FRAMES = 24
CLIP = [drawn(i) for i in range(FRAMES)]
CLICK = [[10, 20]]


def opened(tracker, source=None, **options):
    return tracker.open(CLIP if source is None else source, **options)


def low_res(frames):
    return [(f.index, f.low_res) for f in frames]


def equal(a, b):
    return len(a) == len(b) and all(
        i == j and np.array_equal(x, y) for (i, x), (j, y) in zip(a, b, strict=True)
    )


def test_frames_tell_index_ids_names_masks_scores_and_progress(tracker):
    with opened(tracker) as session:
        masks = session.add(7, points=CLICK, name="square", category=3)
        session.add(2, boxes=[5, 5, 40, 30])
        assert masks.size == SIZE and len(masks) == 1
        told = []
        found = list(session.propagate(progress=told.append))
        assert [f.index for f in found] == list(range(FRAMES))
        assert all(f.ids == [7, 2] and f.names == {7: "square"} for f in found)
        assert found[3].masks.array.shape == (2, *SIZE) and found[3].scores.shape == (2,)
        assert found[3].low_res.shape == (2, 32, 32)
        assert np.array_equal(found[3][2].array[0], found[3].masks.array[1])
        assert found[0].progress.startswith(f"1/{FRAMES} frames (")
        assert [t["done"] for t in told] == list(range(1, FRAMES + 1))
        assert told[0]["total"] == FRAMES and told[-1]["text"] == found[-1].progress
        assert session.categories == {7: 3} and session.prompted_frames == [0]
        assert np.array_equal(session.masks(5).array, found[5].masks.array)
        with pytest.raises(KeyError, match="object 9"):
            found[0][9]


def test_a_file_gives_what_its_frames_give(tracker, tmp_path):
    path = tmp_path / "clip.mp4"
    encode(CLIP, str(path))
    with tracker.open(path) as session:
        session.add(1, points=CLICK)
        from_file = low_res(session.propagate())
        frames = [session._frames.read(i) for i in range(FRAMES)]
    with opened(tracker, frames) as session:
        session.add(1, points=CLICK)
        assert equal(low_res(session.propagate()), from_file)


def one_by_one(clip):
    yield from clip


def by_index(clip):
    return lambda i: clip[i] if i < len(clip) else None


@pytest.mark.parametrize("make", [one_by_one, by_index])
def test_sources_of_unknown_length_end_where_their_frames_end(tracker, make):
    with opened(tracker, make(CLIP)) as session:
        session.add(1, points=CLICK)
        found = list(session.propagate())
        assert [f.index for f in found] == list(range(FRAMES))
        assert found[0].progress.startswith("1 frames (")
        assert session.count == FRAMES


class Repeatable:
    """What has an iterator, and neither a length nor indices."""

    def __iter__(self):
        return iter(CLIP)


@pytest.mark.parametrize("source", [lambda: one_by_one(CLIP), Repeatable])
def test_what_only_goes_forward_is_stored_to_go_back(tracker, source, monkeypatch):
    monkeypatch.setattr("segrid.video.frames.CACHE_BYTES", 1)
    with opened(tracker, source()) as session:
        session.add(1, 4, points=CLICK)
        assert [f.index for f in session.propagate("backward")] == [4, 3, 2, 1, 0]


def test_both_directions_meet_every_frame_once(tracker):
    with opened(tracker) as session:
        session.add(1, frame=9, points=CLICK)
        both = [f.index for f in session.propagate("both")]
        assert both == [*range(9, FRAMES), *range(8, -1, -1)]
        assert [f.index for f in session.propagate("backward", start=5, frames=2)] == [5, 4, 3]
        assert [f.index for f in session.propagate(start=5, frames=2)] == [5, 6, 7]
        assert list(session.propagate("backward", start=0)) == []  # as in sam2


def test_a_loop_may_stop_and_go_on(tracker):
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        whole = low_res(session.propagate())
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        for frame in session.propagate():
            if frame.index == 6:
                break
        assert session.tracked_frames == list(range(7))
        assert equal(low_res(session.propagate(start=7)), whole[7:])


def test_long_side_reduces_frames_but_not_masks(tracker):
    with opened(tracker, long_side=48) as session:
        assert session._frames.read(0).shape == (32, 48, 3)
        assert session.add(1, points=[[90, 60]]).size == SIZE


def test_old_frames_keep_masks_and_can_be_corrected(tracker):
    with opened(tracker, history=0) as small, opened(tracker) as whole:
        for session in (small, whole):
            session.add(1, points=CLICK)
        a, b = list(small.propagate()), list(whole.propagate())
        assert equal(low_res(a), low_res(b))
        assert small.frame(3).low_res is None
        assert whole.frame(3).low_res is not None
        assert np.array_equal(small.masks(3).array, a[3].masks.array)
        # The memory of frames 0 to 9 is encoded again, from what is kept of them.
        corrected = small.add(1, 10, points=[[60, 40]], labels=[0])
        assert corrected.low_res is not None
        assert [f.index for f in small.propagate(start=10, frames=3)] == [10, 11, 12, 13]


def test_masks_stay_as_they_were_told(tracker):
    """Logits of old frames are kept in half precision, which would move pixels of large frames."""
    with opened(tracker, [np.kron(f, np.ones((8, 8, 1), np.uint8)) for f in CLIP]) as session:
        session.add(1, points=np.multiply(CLICK, 8))
        for frame in list(session.propagate()):
            assert np.array_equal(session.masks(frame.index).array, frame.masks.array)


def test_going_back_encodes_memory_again_as_it_was(tracker):
    """Frames beyond the reach of memory were dropped; a run from an early frame needs them."""
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        first = list(session.propagate())
        again = list(session.propagate(start=12))
        for old, new in zip(first[12:], again, strict=True):  # logits were kept in half precision
            scale = np.abs(old.low_res).max()
            assert np.abs(old.low_res - new.low_res).max() < 0.1 * scale


def test_snapshot_goes_on_with_the_same_bits(tracker, tmp_path):
    path = tmp_path / "session.safetensors"
    with opened(tracker) as session:
        session.add(1, points=CLICK, name="square")
        session.add(2, mask=drawn(0)[..., 0] > 200, category=4)
        run = session.propagate()
        for _ in range(9):
            next(run)
        session.add(2, 12, points=CLICK)  # not in memory yet
        session.snapshot(path)
        rest = low_res(run)
    again = tracker.restore(path, CLIP)
    assert again.names == {1: "square"} and again.categories == {2: 4}
    assert again.ids == [1, 2] and again.prompted_frames == [0, 12]
    assert equal(low_res(again.propagate(start=9)), rest)


KILLED = """
import sys, segrid
tracker = segrid.Tracker(sys.argv[1], precision="fp32")
with tracker.open(sys.argv[2]) as session:
    session.add(1, points=[[10, 20]])
    for frame in session.propagate():
        session.snapshot(sys.argv[3])
        print(frame.index, flush=True)
"""


def test_a_killed_process_leaves_a_snapshot_that_goes_on(tracker, video_model, tmp_path):
    clip, snapshot = tmp_path / "clip.mp4", tmp_path / "s.safetensors"
    encode(CLIP, str(clip))
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, video_model, clip, snapshot], stdout=subprocess.PIPE
    )
    for line in child.stdout:
        if int(line) == 8:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    with tracker.open(clip) as session:
        session.add(1, points=CLICK)
        whole = low_res(session.propagate())
    again = tracker.restore(snapshot)
    first = again.tracked_frames[-1] + 1
    assert 9 <= first < FRAMES
    assert equal(low_res(again.propagate(start=first)), whole[first:])


def test_a_file_without_masks_kept_goes_back_as_one_with_them(tracker):
    """Prompts that only earlier frames look at stay: a file may be followed backwards later."""

    def backwards(**options):
        limits = dict(conditioning_frames=2, pointers=2, memory_frames=2)
        with opened(tracker, **limits, **options) as session:
            for frame in (0, 4, 8, 12):
                session.add(1, frame, points=[[20 + frame, 20]])
            list(session.propagate())
            return low_res(session.propagate(direction="backward", start=7, frames=4))

    assert equal(backwards(keep_masks=False), backwards())


def test_memory_is_flat(tracker, monkeypatch):
    monkeypatch.setattr("segrid.video.frames.CACHE_BYTES", 1 << 20)  # full after a few frames
    process, sizes = psutil.Process(), []
    with opened(tracker, lambda i: CLIP[i % FRAMES] if i < 600 else None) as session:
        session.add(1, points=CLICK)
        for frame in session.propagate():
            if frame.index in (127, 575):
                sizes.append(process.memory_info().rss / 2**20)
        assert session.masks(50) is not None
    assert sizes[1] - sizes[0] < 4, sizes  # MiB in 448 frames


def test_free_pages_are_given_back_when_the_process_has_grown(tracker):
    """Blocks below glibc's size for pages of their own, freed but for the last, stay resident."""
    libc, process = ctypes.CDLL(None), psutil.Process()
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    size, held = 100_000, None
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        for frame in session.propagate():
            if frame.index == 19:  # neither among the first 14 nor the 32nd
                blocks = [libc.malloc(size) for _ in range(1500)]
                for block in blocks:
                    ctypes.memset(block, 1, size)
                for block in blocks[:-1]:
                    libc.free(block)
                held, grown = blocks[-1], process.memory_info().rss
            elif frame.index == 20:
                after = process.memory_info().rss
        libc.free(held)
    assert grown - after > 100e6, (grown, after)


def test_a_damaged_file_keeps_what_came_before(tracker, tmp_path):
    whole, cut = tmp_path / "clip.mkv", tmp_path / "cut.mkv"
    encode(CLIP * 4, str(whole))
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 8 // 10])
    with tracker.open(cut) as session:
        session.add(1, points=CLICK)
        seen = []
        with pytest.raises(segrid.CorruptFileError, match=r"cut\.mkv: frame \d+"):
            for frame in session.propagate():
                seen.append(frame.index)
        assert len(seen) > 20 and session.tracked_frames == seen == list(range(len(seen)))
        assert session.masks(seen[-1]) is not None


def test_export_writes_all_frames(tracker, tmp_path):
    with opened(tracker) as session:
        session.add(1, points=CLICK, name="square")
        list(session.propagate(frames=5))
        written = session.export(
            overlay=tmp_path / "o.mp4", labels=tmp_path / "l", rle=tmp_path / "r.json"
        )
        assert len(written) == 3
        kept = json.loads((tmp_path / "r.json").read_text())
        assert [frame["index"] for frame in kept["frames"]] == list(range(6))
        from pycocotools import mask as coco

        rle = kept["frames"][4]["objects"][0]["segmentation"]
        decoded = coco.decode({"size": rle["size"], "counts": rle["counts"].encode()})
        assert np.array_equal(decoded, session.masks(4).array[0])


def test_another_image_side_is_another_model(tracker, video_model):
    small = segrid.Tracker(video_model, precision="fp32", image_side=64)
    assert small.side == 64 and tracker.side == 128 and small.model_id != tracker.model_id
    with opened(small) as session:
        session.add(1, points=CLICK)
        frame = next(session.propagate())
        assert frame.masks.size == SIZE and frame.low_res.shape == (1, 16, 16)
    with pytest.raises(ValueError, match="multiple of 32 and at least 64, got 100"):
        segrid.Tracker(video_model, image_side=100)


def test_a_correction_looks_back_the_way_the_frame_was_followed(tracker):
    """A frame that was followed backwards is corrected in the light of later frames; their memory
    was dropped and is encoded again."""
    with opened(tracker) as session:
        session.add(1, frame=FRAMES - 1, points=CLICK)
        list(session.propagate("backward"))
        assert len(session.add(1, 12, points=[[60, 40]], labels=[0])) == 1


def test_a_run_beyond_what_the_header_claims_has_no_known_length():
    assert length_of("forward", 3, None, 10) == 7 and length_of("forward", 3, 2, 10) == 3
    assert length_of("both", 3, None, 10) == 10 and length_of("backward", 3, 1, None) == 2
    assert length_of("forward", 3, None, None) is None
    assert length_of("forward", 10, None, 10) is None and length_of("both", 15, 9, 10) is None


def test_headers_that_claim_another_length_are_not_believed(tracker, monkeypatch):
    for claim in (FRAMES - 9, FRAMES + 9):
        session = opened(tracker, lambda i: CLIP[i] if i < FRAMES else None)
        monkeypatch.setattr(type(session._frames), "count", claim)
        monkeypatch.setattr(type(session._frames), "count_is_exact", False)
        session.add(1, points=CLICK)
        found = [f.progress for f in session.propagate()]
        assert len(found) == FRAMES and found[0].startswith(f"1/{claim} frames")
        with pytest.raises(FrameNotFound):
            list(session.propagate(start=FRAMES + 3))
        monkeypatch.undo()
