"""segrid's video session against sam2's own predictor, scenario by scenario, and against
transformers' sessions where these have sam2's rules (test_video_peers.py lists where not)."""

import pytest
import segrid

from tests.tracking import with_segrid
from tests.tracking.originals import differences, frames_of
from tests.tracking.scenarios import SCENARIOS, named


@pytest.fixture(scope="module")
def trackers(originals):
    """trackers(model): ours, loaded once."""
    loaded = {}

    def tracker(model):
        if model not in loaded:
            loaded[model] = segrid.Tracker(originals.folder(model), precision="fp32")
        return loaded[model]

    return tracker


@pytest.fixture(scope="module")
def ours(trackers):
    """ours(name): what our session shows in a scenario, a list of Shown."""
    known = {}

    def shown(name):
        if name not in known:
            s = named(name)
            known[name] = list(
                with_segrid.carry_out(trackers(s.model), frames_of(s), s.steps, s.settings)
            )
        return known[name]

    return shown


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS])
def test_as_sam2(ours, originals, name):
    assert differences(ours(name), originals.sam2(name)) == []


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS if s.as_transformers])
def test_as_transformers(ours, originals, name):
    assert differences(ours(name), originals.transformers(name)) == []
