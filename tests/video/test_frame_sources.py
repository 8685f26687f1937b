"""Frames that are folders, lists, arrays, iterators and callables."""

import itertools
import re

import numpy as np
import pytest
import segrid
from PIL import Image
from segrid.video import frames as frames_module
from segrid.video.frame_folder import ordered_images
from segrid.video.frame_store import FrameStore
from segrid.video.frames import FrameNotFound
from segrid.video.sources import open_frames

from tests.video.clips import all_of, drawn

FRAMES = [drawn(i) for i in range(12)]


def filled(folder, names, size=(96, 64)):
    """A folder of images whose red value is ten times the place in `names`."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (10 * i, 0, 0)).save(folder / name)
    return folder


SOURCES = {
    "list": lambda: list(FRAMES),
    "tuple": lambda: tuple(FRAMES),
    "array": lambda: np.stack(FRAMES),
    "pictures": lambda: [Image.fromarray(f) for f in FRAMES],
    "callable": lambda: lambda index: FRAMES[index],
    "callable with None": lambda: lambda index: FRAMES[index] if index < 12 else None,
    "iterator": lambda: iter(FRAMES),
    "generator": lambda: (f for f in FRAMES),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_frames_of_every_kind(kind):
    with open_frames(SOURCES[kind]()) as frames:
        found = all_of(frames)
        assert frames.size == (64, 96) and frames.count == 12 and frames.count_is_exact
        assert frames.rate is None and np.isnan(frames.times).all()
        for index in (4, 11, 0):
            assert np.array_equal(frames.read(index), FRAMES[index])
        for index in (12, 40, -1):
            with pytest.raises(FrameNotFound, match=f"no frame {index}; ") as error:
                frames.read(index)
            assert isinstance(error.value, IndexError) and error.value.index == index
    assert all(np.array_equal(a, b) for a, b in zip(found, FRAMES, strict=True))
    assert all(a.dtype == np.uint8 and a.flags.c_contiguous for a in found)


def test_counts_that_are_not_known():
    assert open_frames(lambda i: FRAMES[0]).count is None
    assert open_frames(f for f in FRAMES).count is None
    hinted = open_frames(iter(FRAMES))
    assert hinted.count == 12 and not hinted.count_is_exact  # a list's iterator tells its length
    far = open_frames(lambda i: FRAMES[i])
    with pytest.raises(FrameNotFound, match="the source has no frame of this index"):
        far.read(50)
    assert far.count is None


def test_an_endless_source():
    frames = open_frames(drawn(i) for i in itertools.count())
    assert np.array_equal(frames.read(500), drawn(500)) and frames.count is None


def test_long_side_of_arrays():
    import cv2

    with open_frames(FRAMES, long_side=48) as frames:
        area = cv2.resize(FRAMES[3], (48, 32), interpolation=cv2.INTER_AREA)
        assert np.array_equal(frames.read(3), area) and frames.size == (64, 96)


def test_pixels_follow_the_rules_of_images():
    gray, alpha = np.full((5, 6), 7, np.uint8), np.full((5, 6, 4), 7, np.uint8)
    floats = np.full((5, 6, 3), 7 / 255)
    for frame in all_of(open_frames([gray, alpha, floats])):
        assert np.array_equal(frame, np.full((5, 6, 3), 7, np.uint8))


def test_a_frame_does_not_change_with_the_array():
    array = np.zeros((2, 5, 6, 3), np.uint8)
    frame = open_frames(array).read(1)
    array[:] = 9
    assert not frame.any()


def test_folders_are_sorted_by_numbers(tmp_path):
    names = ["8.png", "9.jpg", "10.png", "11.bmp"]
    folder = filled(tmp_path / "a", names)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    (folder / "more.png").mkdir()
    with open_frames(folder) as frames:
        reds = [int(f[0, 0, 0]) for f in all_of(frames)]
        assert frames.count == 4 and [round(red / 10) for red in reds] == [0, 1, 2, 3]
    names = [f"clip_{i:03d}.png" for i in range(0, 120, 10)]  # every tenth frame
    assert [f.name for f in ordered_images(filled(tmp_path / "b", names))] == names
    names = ["a1.png", "a2.png", "a10.png", "b1x.png", "b.png"]  # no numbers alone
    found = [f.name for f in ordered_images(filled(tmp_path / "c", names[::-1]))]
    assert found == ["a1.png", "a2.png", "a10.png", "b1x.png", "b.png"]


def test_bad_folders(tmp_path):
    gap = filled(tmp_path / "gap", ["f_08.png", "f_09.png", "f_11.png", "f_12.png"])
    with pytest.raises(ValueError, match=r"gap/f_10.png: this frame is missing; after f_09.png co"):
        open_frames(gap)
    twice = filled(tmp_path / "twice", ["1.png", "2.png", "002.jpg"])
    with pytest.raises(ValueError, match=r"has the number 2, as has"):
        open_frames(twice)
    with pytest.raises(ValueError, match="none: no images .*in this folder"):
        open_frames(filled(tmp_path / "none", []))
    mixed = filled(tmp_path / "mixed", ["1.png", "2.png"])
    filled(mixed, ["3.png"], size=(90, 64))
    with open_frames(mixed) as frames:
        frames.read(1)
        rule = r"mixed: frame 2 \(3.png\): 90 x 64 pixels, but the first frame has 96 x 64"
        with pytest.raises(ValueError, match=rule):
            frames.read(2)
        assert frames.read(1)[0, 0, 0] == 10
    (mixed / "2.png").write_bytes(b"no picture")
    with pytest.raises(segrid.CorruptFileError, match=r"mixed: frame 1 \(2.png\): .*2.png: not an"):
        open_frames(mixed).read(1)
    (mixed / "2.png").unlink()
    (mixed / "3.png").unlink()
    (mixed / "2.png").symlink_to("gone.png")
    with pytest.raises(FileNotFoundError, match=r"\(.*frame 1 \(2.png\)\): '.*2.png'"):
        open_frames(mixed).read(1)


BAD = {
    "empty list": ([], ValueError, "frames: no frames; a video needs at least one"),
    "empty array": (np.zeros((0, 4, 4, 3), np.uint8), ValueError, "no frames"),
    "one image": (FRAMES[0], ValueError, r"must be \(N, H, W, 3\), got shape \(64, 96, 3\); pass"),
    "one picture": (Image.fromarray(FRAMES[0]), TypeError, r"pass \[image\] for a single image"),
    "a number": (0, TypeError, "expected a path, bytes, a list of images.*got int"),
    "a dict": ({0: FRAMES[0]}, TypeError, "got dict"),
    "channels first": (np.zeros((2, 3, 8, 9), np.uint8), ValueError, "frame 0: .*transpose"),
    "NaN": ([np.full((4, 4, 3), np.nan)], ValueError, "frame 0: .*48 of 48 values are NaN"),
    "texts": (["missing.png"], FileNotFoundError, "frames: frame 0"),
    "no image": ([object()], TypeError, "frames: frame 0: image: expected a path"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_sources(kind):
    source, error, rule = BAD[kind]
    with pytest.raises(error, match=rule):
        open_frames(source)


def test_other_sizes_name_the_frame():
    with open_frames([FRAMES[0], FRAMES[1], FRAMES[2][:50]]) as frames:
        with pytest.raises(ValueError, match="frames: frame 2: 96 x 50 pixels, but the first fra"):
            frames.read(2)
        assert np.array_equal(frames.read(1), FRAMES[1])


def test_iterators_only_go_forward(monkeypatch):
    monkeypatch.setattr(frames_module, "CACHE_BYTES", 4 * FRAMES[0].nbytes)
    with open_frames(iter(FRAMES)) as frames:
        frames.read(9)
        assert all(np.array_equal(frames.read(i), FRAMES[i]) for i in (6, 7, 8, 9))
        rule = r"frame 5: an iterator only goes forward.*\(10 were read\).*store=FrameStore\(\)"
        with pytest.raises(ValueError, match=rule):
            frames.read(5)
        assert np.array_equal(frames.read(10), FRAMES[10])


def test_a_store_remembers_an_iterator(monkeypatch):
    monkeypatch.setattr(frames_module, "CACHE_BYTES", 4 * FRAMES[0].nbytes)
    store = FrameStore()
    with open_frames(iter(FRAMES), store=store) as frames:
        first = [frames.read(i) for i in range(12)]
        assert all(np.array_equal(frames.read(i), first[i]) for i in (0, 11, 3, 7, 5))
        errors = [np.abs(a - b.astype(int)).mean() for a, b in zip(first, FRAMES, strict=True)]
        assert 0 < max(errors) < 4, "JPEG of quality 85"
        assert store.folder.exists()
    assert not store.folder.exists()


def test_sources_that_go_back_need_no_store():
    store = FrameStore()
    open_frames(FRAMES, store=store)
    assert not store.folder.exists()
    store = FrameStore()
    with pytest.raises(ValueError, match="no frames"):
        open_frames(iter([]), store=store)
    assert not store.folder.exists()


def test_errors_of_the_source_are_raised_as_they_are():
    class Broken(Exception):
        pass

    def failing():
        yield from FRAMES[:3]
        raise Broken("camera")

    with open_frames(failing()) as frames:
        for _ in range(2):  # it is not taken for the end
            with pytest.raises(Broken, match="camera"):
                frames.read(3)
        assert np.array_equal(frames.read(2), FRAMES[2])

    def broken(index):
        if index == 2:
            raise Broken("disk")
        return FRAMES[index]

    with open_frames(broken) as frames:
        with pytest.raises(Broken, match="disk"):
            frames.read(2)
        assert np.array_equal(frames.read(3), FRAMES[3])


def test_a_bad_frame_of_an_iterator_ends_it():
    with open_frames(iter([FRAMES[0], "no.png", FRAMES[2]])) as frames:
        for index in (1, 2, 1):
            with pytest.raises(FileNotFoundError, match="frame 1"):
                frames.read(index)
        assert np.array_equal(frames.read(0), FRAMES[0])


def test_an_interrupted_read_of_an_iterator_loses_no_frame(monkeypatch):
    with open_frames(iter(FRAMES)) as frames:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

            def interrupt(*_):
                raise KeyboardInterrupt

            patch.setattr(frames, "_reduced", interrupt)
            frames.read(3)
        assert all(np.array_equal(frames.read(i), FRAMES[i]) for i in (1, 3, 4))


def test_frame_not_found_can_be_pickled():
    import pickle

    error = FrameNotFound("a.mp4", 7, 5)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.index, again.count) == (str(error), 7, 5)
    assert re.fullmatch(r"a.mp4: there is no frame 7; there are 5 frames \(0 to 4\)", str(again))
