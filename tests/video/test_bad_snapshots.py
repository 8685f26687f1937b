"""Snapshots that are damaged, that do not fit, or that somebody made to do harm."""

import json
from pathlib import Path

import numpy as np
import pytest
import segrid
from safetensors import safe_open
from safetensors.numpy import save_file
from segrid.video.snapshots import FORMAT, checksum

from tests.video.clips import drawn
from tests.video.test_session import CLICK, CLIP, opened


def test_snapshots_that_do_not_fit_are_refused(tracker, video_model, tmp_path):
    path = tmp_path / "session.safetensors"
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        session.snapshot(path)
    with pytest.raises(ValueError, match="not opened by a path"):
        tracker.restore(path)
    with pytest.raises(ValueError, match="96 x 64 pixels, and frames has 64 x 64"):
        tracker.restore(path, [drawn(0, (64, 64))])
    whole = path.read_bytes()
    for damaged in (whole[:-50], b"", b"{}", whole[:200]):
        path.write_bytes(damaged)
        with pytest.raises(segrid.CorruptFileError, match=r"session\.safetensors"):
            tracker.restore(path, CLIP)
    with pytest.raises(segrid.CorruptFileError, match="not a snapshot"):
        tracker.restore(Path(video_model) / "model.safetensors", CLIP)
    with pytest.raises(FileNotFoundError):
        tracker.restore(tmp_path / "none", CLIP)


def edited(path, change):
    """A snapshot whose facts are changed, and its arrays, which have their names in the track."""
    with safe_open(path, "np") as file:
        metadata, arrays = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    facts = json.loads(metadata["session"])
    columns = {name.removeprefix("0/"): array for name, array in arrays.items()}
    change(facts, facts["tracks"][0], columns)
    arrays = {f"0/{name}": array for name, array in columns.items()}
    session = json.dumps(facts)
    changed = {"session": session, "checksum": checksum(session, arrays)}
    save_file(arrays, path, metadata | changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, track, columns: facts["options"].update(store_bytes=3),
        lambda facts, track, columns: facts["options"].update(memory_frames="7"),
        lambda facts, track, columns: facts.update(long_side="1024"),
        lambda facts, track, columns: facts.update(path=7),
        lambda facts, track, columns: facts["names"].update({"1": ["a"]}),
        lambda facts, track, columns: facts["tracks"].append(track),
        lambda facts, track, columns: track.pop("id"),
        lambda facts, track, columns: track.update(id=2**70),
        lambda facts, track, columns: track["prompts"].append([0, [[1, 2]], [2**40]]),
        lambda facts, track, columns: columns.pop("frame"),
        lambda facts, track, columns: columns.update(score=columns["score"].view(np.int32)),
        lambda facts, track, columns: columns.update(frame=columns["frame"] - 5),
        lambda facts, track, columns: columns.update(frame=np.repeat(columns["frame"], 2)),
        lambda facts, track, columns: columns.update(list=columns["list"] + 4),
        lambda facts, track, columns: columns.update(lengths=columns["lengths"] + 1),
        lambda facts, track, columns: columns.update(pointers=columns["pointers"].repeat(2, 0)),
        lambda facts, track, columns: columns.update(visited=np.zeros(3, np.int64)),
    ],
)
def test_snapshots_of_a_wrong_form_are_refused(tracker, tmp_path, change):
    """They may come from anywhere."""
    path = tmp_path / "session.safetensors"
    with opened(tracker) as session:
        session.add(1, points=CLICK, name="square")
        session.snapshot(path)
    edited(path, lambda *_: None)
    tracker.restore(path, CLIP).close()
    edited(path, change)
    with pytest.raises(segrid.CorruptFileError, match="a damaged snapshot"):
        tracker.restore(path, CLIP)


def test_nesting_without_end_is_no_snapshot(tracker, tmp_path):
    path = tmp_path / "session.safetensors"
    metadata = {"format": FORMAT, "session": "[" * 200_000}
    save_file({"none": np.zeros(1, np.uint8)}, path, metadata)
    with pytest.raises(segrid.CorruptFileError, match="a damaged snapshot"):
        tracker.restore(path, CLIP)


def test_arrays_of_another_type_are_refused(tracker, tmp_path):
    """Their bits would be taken for other numbers."""
    path = tmp_path / "session.safetensors"
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        session.snapshot(path)
    with safe_open(path, "np") as file:
        metadata, arrays = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    arrays["0/pointers"] = arrays["0/pointers"].view(np.int32)
    save_file(arrays, path, metadata | {"checksum": checksum(metadata["session"], arrays)})
    with pytest.raises(ValueError, match="a pointer has another shape or type"):
        tracker.restore(path, CLIP)


def test_damaged_bytes_are_noticed_wherever_they_are(tracker, tmp_path):
    path = tmp_path / "session.safetensors"
    with opened(tracker) as session:
        session.add(1, points=CLICK)
        list(session.propagate(frames=2))
        session.snapshot(path)
    whole = path.read_bytes()
    for place in range(len(whole) // 16, len(whole), len(whole) // 9):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(segrid.CorruptFileError, match=r"session\.safetensors"):
            tracker.restore(path, CLIP)
    path.write_bytes(whole)
    tracker.restore(path, CLIP).close()
