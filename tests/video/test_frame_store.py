"""The store of frames on disk: bounded, removed, also after a crash."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from segrid import _temporary
from segrid.video.frame_store import PREFIX, FrameStore

from tests.video.clips import drawn


def test_frames_come_back(tmp_path):
    with FrameStore(folder=tmp_path) as store:
        for i in range(5):
            store.put(i, drawn(i))
        assert 3 in store and 7 not in store
        assert [np.abs(store.get(i) - drawn(i).astype(int)).mean() < 4 for i in (4, 0)] == [
            True
        ] * 2
        assert store.bytes == sum(f.stat().st_size for f in store.folder.glob("*.jpg")) > 0
        with pytest.raises(KeyError, match="no frame 7"):
            store.get(7)
        before = store.bytes
        store.put(3, drawn(3))
        assert store.bytes == before
        assert (store.folder.stat().st_mode & 0o777) == 0o700  # for its user alone
    assert not list(tmp_path.iterdir())
    store.close()
    with pytest.raises(ValueError, match="frame store: it is closed"):
        store.get(0)


def test_the_limit_is_named(tmp_path):
    with FrameStore(folder=tmp_path, max_bytes=5000) as store:
        with pytest.raises(ValueError, match="limit is 5000 .max_bytes of FrameStore.*long_side"):
            for i in range(100):
                store.put(i, drawn(i))
        assert 0 < store.bytes <= 5000 and i not in store and i - 1 in store
        assert store.get(i - 1).shape == drawn(0).shape
    with pytest.raises(ValueError, match="max_bytes: expected at least 1"):
        FrameStore(max_bytes=0)


def test_garbage_is_removed(tmp_path):
    store = FrameStore(folder=tmp_path)
    store.put(0, drawn(0))
    del store
    gc.collect()
    assert not list(tmp_path.iterdir())


PROGRAM = """
import os, sys, time
import numpy as np
from segrid.video.frame_store import FrameStore
store = FrameStore(folder=sys.argv[1])
store.put(0, np.zeros((8, 8, 3), np.uint8))
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
    store.get(0)
print("made", flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


def program(folder, how):
    command = [sys.executable, "-c", PROGRAM, str(folder), how]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "made\n"
    return running


@pytest.mark.parametrize("how", ["exit", "fork"])
def test_the_exit_removes_it(tmp_path, how):
    """A fork's exit does not."""
    assert program(tmp_path, how).wait(30) == 0
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    running = program(tmp_path, "wait")
    (left,) = tmp_path.iterdir()
    other = tmp_path / "segrid-frames-of-mine"
    other.mkdir()
    with FrameStore(folder=tmp_path):
        assert left.exists()  # it is in use
    running.send_signal(signal.SIGKILL)
    running.wait(30)
    deadline = time.monotonic() + 10
    while left.exists() and time.monotonic() < deadline:
        _temporary.remove_unused(tmp_path, PREFIX)
    with FrameStore(folder=tmp_path) as store:
        assert set(tmp_path.iterdir()) == {store.folder, other}


def test_a_full_disk_is_an_error_and_leaves_no_half_file(tmp_path, monkeypatch):
    from PIL import Image

    def full(self, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    with FrameStore(folder=tmp_path) as store:
        store.put(0, drawn(0))
        before = store.bytes
        monkeypatch.setattr(Image.Image, "save", full)
        with pytest.raises(OSError, match="No space left"):
            store.put(1, drawn(1))
        assert 1 not in store and store.bytes == before
        assert [f.name for f in store.folder.glob("*.jpg")] == ["00000000.jpg"]


def test_folders_of_this_process_are_left_alone(tmp_path):
    first, second = FrameStore(folder=tmp_path), FrameStore(folder=tmp_path)
    assert first.folder.exists() and _temporary.LOCK in os.listdir(second.folder)
    first.close(), second.close()


def test_a_folder_that_is_removed_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    """Another process that looks for unused folders may see a new one before its lock."""
    lock, tried = _temporary.lock, []

    def removed_before(folder):
        shutil.rmtree(folder)
        return lock(folder)

    def being_removed(folder):
        raise BlockingIOError(11, "Resource temporarily unavailable", str(folder))

    def removed_after(folder):
        taken = lock(folder)
        shutil.rmtree(folder)
        return taken

    ways = [removed_before, being_removed, removed_after, lock]
    monkeypatch.setattr(
        _temporary, "lock", lambda folder: tried.append(folder) or ways[len(tried) - 1](folder)
    )
    with FrameStore(folder=tmp_path) as store:
        assert len(tried) == 4 and store.folder == tried[-1]
        store.put(0, drawn(0))
        assert store.get(0).shape == drawn(0).shape
