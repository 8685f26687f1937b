"""Sessions of a tracker with memory_pooling, whose numbers are in parity/test_memory_pooling.py."""

import json

import pytest
import segrid

from tests import models
from tests.tracking import clip


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory):
    return models.sam2.make_video("clip", tmp_path_factory.mktemp("clip"))


def tracker_side(folder):
    return json.loads((folder / "config.json").read_text())["image_size"]


def test_a_session(clip_model, tmp_path):
    """Objects are followed, with less in memory, and snapshots belong to one pooling."""
    frames = list(clip.blobs(6, 96, 96))
    found = {}
    for pooling in (None, 1, 2):
        tracker = segrid.Tracker(clip_model, precision="fp32", memory_pooling=pooling)
        with tracker.open(frames) as session:
            session.add(1, points=[[48, 48]])
            found[pooling] = [frame.masks.areas.tolist() for frame in session.propagate()]
            session.snapshot(tmp_path / f"{pooling}.safetensors")
    assert found[None] == found[1] != found[2]
    sizes = [(tmp_path / f"{pooling}.safetensors").stat().st_size for pooling in (1, 2)]
    assert sizes[1] < sizes[0]
    with pytest.raises(ValueError, match="memory_pooling"):
        tracker.restore(tmp_path / "1.safetensors", source=frames)
    as_it_is = segrid.Tracker(clip_model, precision="fp32", image_side=tracker_side(clip_model))
    with as_it_is.restore(tmp_path / "1.safetensors", source=frames) as session:
        assert session.tracked_frames


def test_poolings_that_a_model_cannot_have(clip_model, tmp_path):
    with pytest.raises(ValueError, match="memory_pooling: must divide the .* image tokens"):
        segrid.Tracker(clip_model, memory_pooling=3)
    edgetam = models.edgetam.make_video("small", tmp_path)
    with pytest.raises(NotImplementedError, match="memory_pooling: its perceiver"):
        segrid.Tracker(edgetam, memory_pooling=2)
