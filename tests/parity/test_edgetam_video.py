"""EdgeTAM's sessions against transformers', on the CPU's kernels and by the plain definitions.

Random weights are not calibrated to track as SAM 2's are (tests/models/video_weights.py): masks
are large and change from frame to frame. Memory in fp32 keeps the two together."""

import numpy as np
import pytest
import segrid

from tests.models import edgetam
from tests.tracking import clip, with_segrid, with_transformers
from tests.tracking.originals import differences
from tests.tracking.steps import Add, Propagate

FRAMES, SIDE = 30, 192


def place(blob, frame):
    return clip.place(blob, frame, FRAMES, SIDE, SIDE)


SCENARIOS = {
    "one click": (Add(1, points=(place(0, 0)[:2],)), Propagate()),
    "a box in the middle, both ways": (
        Add(1, frame=12, box=(20.0, 30.0, 120.0, 150.0)),
        Propagate(frames=8),
        Propagate("backward", frames=8),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return edgetam.make_video("wide", tmp_path_factory.mktemp("edgetam"))


@pytest.fixture(scope="module")
def frames():
    return clip.blobs(FRAMES, SIDE, SIDE)


@pytest.fixture(scope="module")
def theirs(folder, frames):
    """theirs(name): what transformers shows."""
    model, known = edgetam.original(folder, video=True), {}

    def shown(name):
        if name not in known:
            known[name] = list(with_transformers.carry_out(model, frames, SCENARIOS[name]))
        return known[name]

    return shown


@pytest.mark.parametrize("device", ["cpu", "cpu-plain"])
@pytest.mark.parametrize("name", ["one click", "a box in the middle, both ways"])
def test_as_transformers(folder, frames, theirs, name, device):
    tracker = segrid.Tracker(folder, precision="fp32", device=device)
    # transformers fills no holes.
    ours = list(with_segrid.carry_out(tracker, frames, SCENARIOS[name], {"fill_hole_area": 0}))
    areas = [(shown.logits > 0).mean() for shown in theirs(name)]
    assert np.ptp(areas) > 0.1, "vacuous"
    assert differences(ours, theirs(name)) == []


def test_a_snapshot_goes_on_with_the_same_bits(folder, frames, tmp_path):
    """EdgeTAM keeps fewer tokens of a frame than SAM 2, and in another type."""
    tracker = segrid.Tracker(folder, precision="fp32")
    with tracker.open(list(frames), long_side=None) as session:
        session.add(1, points=[place(0, 0)[:2]])
        run = session.propagate(frames=9)
        for _ in range(5):
            next(run)
        session.snapshot(tmp_path / "s.safetensors")
        rest = [frame.low_res for frame in run]
    with tracker.restore(tmp_path / "s.safetensors", list(frames)) as session:
        again = [frame.low_res for frame in session.propagate(start=5, frames=4)]
    assert len(rest) == 5 and all(map(np.array_equal, rest, again))
