"""Video files: the same frames as OpenCV's, in any order, with rotation and times."""

import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from segrid.video import frames as frames_module
from segrid.video.frames import FrameNotFound
from segrid.video.sources import open_frames

from tests.video.clips import KINDS, all_of, by_opencv, clip, clip_bytes, drawn, encode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(params=KINDS, scope="module")
def kind(request, folder):
    """One file of each kind, and its frames by OpenCV."""
    path = clip(folder / request.param, **KINDS[request.param])
    return path, by_opencv(path)


def test_frames_are_those_of_opencv(kind):
    path, original = kind
    with open_frames(path) as frames:
        assert frames.size == frames.reduced_size == (64, 96) and frames.rate >= 10
        found = all_of(frames)
        assert frames.count == 30 and frames.count_is_exact
        with pytest.raises(FrameNotFound, match=r"there is no frame 31; there are 30 frames"):
            frames.read(31)
    assert len(found) == len(original) == 30
    assert all(np.array_equal(a, b) for a, b in zip(found, original, strict=True))
    assert len({a.tobytes() for a in found}) == 30, "vacuous: equal frames"
    assert all(a.flags.c_contiguous and not a.flags.writeable for a in found)


@pytest.mark.parametrize("cached", [1, 7, 1000])
def test_any_order_gives_the_same_frames(kind, cached, monkeypatch):
    """Also where a group of pictures is larger than the cache."""
    path, original = kind
    monkeypatch.setattr(frames_module, "CACHE_BYTES", cached * original[0].nbytes)
    rng = random.Random(cached)
    order = [*range(20), *range(19, -1, -1), *(rng.randrange(30) for _ in range(30))]
    order += range(29, -1, -1)
    with open_frames(path) as frames:
        wrong = [i for i in order if not np.array_equal(frames.read(i), original[i])]
    assert not wrong


def decoded_pictures(frames, indices):
    """How many pictures are decoded to read these frames."""
    count, usual = 0, frames._decoder.next

    def counted():
        nonlocal count
        count += 1
        return usual()

    frames._decoder.next = counted
    for index in indices:
        frames.read(index)
    return count


def test_reading_backwards_decodes_a_group_of_pictures_once(tmp_path, monkeypatch):
    options = {"x264-params": "keyint=20:scenecut=0:bframes=0"}
    path = clip(tmp_path / "a.mp4", 60, options=options)
    monkeypatch.setattr(frames_module, "CACHE_BYTES", 20 * 64 * 96 * 3)
    with open_frames(path) as frames:
        assert decoded_pictures(frames, range(1, 60)) == 59
        assert list(frames._keys) == [0, 20, 40]
        assert decoded_pictures(frames, range(59, -1, -1)) <= 60 + 3
    # A cache of a quarter of a group: each quarter decodes what comes before it in its group.
    monkeypatch.setattr(frames_module, "CACHE_BYTES", 5 * 64 * 96 * 3)
    with open_frames(path) as frames:
        frames.read(59)
        assert decoded_pictures(frames, range(59, -1, -1)) <= 3 * (20 + 15 + 10 + 5) + 12


def test_a_jump_starts_at_a_known_key_frame(tmp_path):
    options = {"x264-params": "keyint=10:scenecut=0:bframes=0"}
    with open_frames(clip(tmp_path / "a.mp4", 60, options=options)) as frames:
        frames.read(59)
        frames.read(0)
        frames._cache.clear()
        assert decoded_pictures(frames, [55]) <= 7


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, turn):
    path = clip(tmp_path / "a.mp4", 3, turn=turn)
    with open_frames(path) as frames:
        found = all_of(frames)
        assert frames.size == ((64, 96) if turn % 180 == 0 else (96, 64))
    assert all(np.array_equal(a, b) for a, b in zip(found, by_opencv(path), strict=True))
    upright = np.rot90(drawn(0), turn // 90).astype(int)
    assert np.abs(found[0] - upright).mean() < 8, "turned the other way"


@pytest.mark.parametrize(
    "across,down,flipped",
    [(-1, 1, lambda a: a[:, ::-1]), (1, -1, lambda a: a[::-1]), (-1, -1, lambda a: a[::-1, ::-1])],
)
def test_mirrored_videos(tmp_path, across, down, flipped):
    unit, last = 1 << 16, 1 << 30
    matrix = (across * unit, 0, 0, 0, down * unit, 0, 0, 0, last)
    with open_frames(clip(tmp_path / "a.mp4", 2, matrix=matrix)) as frames:
        assert np.abs(frames.read(0) - flipped(drawn(0)).astype(int)).mean() < 8


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_files_larger_than_what_is_read_at_once(tmp_path, ending, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (24, 128, 128, 3), dtype=np.uint8)
    path = tmp_path / f"a.{ending}"
    encode(noise, str(path), options={"g": "8"})
    assert path.stat().st_size > 3 << 16
    original = by_opencv(path)
    monkeypatch.setattr(frames_module, "CACHE_BYTES", 3 * noise[0].nbytes)
    with open_frames(path) as frames:
        for order in (range(24), range(23, -1, -1), (3, 20, 9)):
            assert all(np.array_equal(frames.read(i), original[i]) for i in order)


def test_variable_rate_counts_frames_and_keeps_times(tmp_path):
    times = [0, 1, 2, 10, 11, 30, 31, 32, 33, 60]
    path = clip(tmp_path / "a.mkv", 10, times=times)
    with open_frames(path) as frames:
        found = all_of(frames)
        assert np.allclose(frames.times, np.array(times) / 10, atol=1e-3)
        for i in (9, 3, 5):
            assert np.array_equal(frames.read(i), found[i])
    assert len(found) == 10
    assert all(np.array_equal(a, b) for a, b in zip(found, by_opencv(path), strict=True))


@pytest.mark.parametrize("long_side,size", [(48, (32, 48)), (95, (63, 95)), (500, (64, 96))])
def test_long_side(tmp_path, long_side, size):
    import cv2

    path = clip(tmp_path / "a.mp4", 4)
    with open_frames(path, long_side=long_side) as frames:
        assert frames.size == (64, 96) and frames.reduced_size == size
        for i, original in enumerate(by_opencv(path)):
            area = cv2.resize(original, size[::-1], interpolation=cv2.INTER_AREA)
            difference = np.abs(frames.read(i) - area.astype(int))
            assert difference.max() <= 1 and (difference > 0).mean() < 0.03
    with pytest.raises(ValueError, match="long_side: expected at least 1 pixel, got 0"):
        open_frames(path, long_side=0)


def test_claims_are_not_believed(tmp_path):
    """The number of frames is exact when the end was read; until then it is the header's."""
    with open_frames(clip(tmp_path / "a.mp4")) as frames:
        assert frames.count == 30 and not frames.count_is_exact
        frames.read(29)
        with pytest.raises(FrameNotFound) as error:
            frames.read(99)
        assert error.value.index == 99 and error.value.count == 30 and frames.count_is_exact
    data = bytearray(clip_bytes())
    # The sample count of the sizes of samples, one of the tables that every MP4 file has.
    at = data.index(b"stsz") + 12
    assert int.from_bytes(data[at : at + 4], "big") == 30
    data[at : at + 4] = (20).to_bytes(4, "big")
    counts = data.index(b"stts") + 12
    many = bytearray(data)
    many[counts : counts + 4] = (1 << 30).to_bytes(4, "big")
    assert open_frames(bytes(many)).count != 1 << 30  # more frames than bytes
    with (
        open_frames(bytes(data)) as frames,
        pytest.warns(UserWarning, match="counts 30 frames; it"),
    ):
        assert len(all_of(frames)) == 20 and frames.count == 20


def test_live_recordings_have_no_declared_length(tmp_path):
    with open_frames(clip(tmp_path / "a.mp4", fragmented=True)) as frames:
        assert len(all_of(frames)) == 30


def test_bytes_and_names(tmp_path):
    path = clip(tmp_path / "a.mp4", 3)
    odd = tmp_path / "file:é 猫%03d.mp4"
    shutil.copy(path, odd)
    with open_frames(path.read_bytes()) as a, open_frames(str(odd)) as b:
        assert np.array_equal(a.read(2), b.read(2)) and a.name == "bytes" and b.name == str(odd)
    raw = bytes(tmp_path) + b"/\xff.mp4"
    shutil.copy(path, raw)
    assert open_frames(raw.decode("utf-8", "surrogateescape")).count == 3


def test_closed_frames(tmp_path):
    frames = open_frames(clip(tmp_path / "a.mp4", 3))
    frames.close(), frames.close()
    with pytest.raises(ValueError, match="the frames are closed"):
        frames.read(0)


def test_threads_may_read_together(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    path = clip(tmp_path / "a.mp4")
    original = by_opencv(path)
    order = random.Random(1).choices(range(30), k=120)
    with open_frames(path) as frames, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(frames.read, order))
    assert all(np.array_equal(a, original[i]) for a, i in zip(found, order, strict=True))


@pytest.mark.parametrize("place", ["_keep", "_note"])
def test_an_interrupted_read_loses_no_frame(tmp_path, place, monkeypatch):
    path = clip(tmp_path / "a.mp4")
    original = by_opencv(path)
    with open_frames(path) as frames:
        for order in ((5, 9, 10), (12, 3, 29)):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

                def interrupt(*_):
                    raise KeyboardInterrupt

                patch.setattr(frames, place, interrupt)
                frames.read(order[0])
            assert all(np.array_equal(frames.read(i), original[i]) for i in order)


def test_memory_is_flat(tmp_path):
    """2000 frames at constant memory, forward and backward."""
    path = clip(tmp_path / "a.mp4", 2000, (48, 64), rate=30, codec="mpeg4")
    program = f"""
from segrid.measuring.memory import resident_mb
from segrid.video import frames as module
from segrid.video.sources import open_frames
module.CACHE_BYTES = 1 << 20
frames = open_frames({str(path)!r})
for i in range(900): frames.read(i)
for i in range(900, 600, -1): frames.read(i)
before = resident_mb("VmHWM")
for i in range(900, 2000): frames.read(i)
for i in range(1999, 1000, -1): frames.read(i)
print(resident_mb("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(done.stdout) < 5, done.stderr  # MiB; the frames have 18


def test_without_the_av_package(tmp_path, monkeypatch):
    import av

    path = clip(tmp_path / "a.mp4", 2)
    with monkeypatch.context() as patch:
        patch.setattr(av, "__version__", "16.1.0")
        with pytest.raises(
            ImportError, match=r"needs av 17 or later, and 16.1.0 is installed: pip"
        ):
            open_frames(path)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "segrid\[video\]"'):
        open_frames(path)
    assert open_frames([drawn(0)]).count == 1  # other sources need no av
