"""segrid.compat.sam2's video predictor beside sam2's: every scenario of tests/tracking, read from
files, and the results, errors and settings that scripts rely on."""

import numpy as np
import pytest
from segrid.compat.sam2.build_sam import build_sam2_video_predictor

from tests.models import sam2_predictor
from tests.tracking import with_sam2
from tests.tracking.originals import differences, frames_of
from tests.tracking.scenarios import SCENARIOS, named

CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """folder_of(name): the files of a scenario's clip."""
    known = {}

    def folder(name):
        s = named(name)
        if (key := (s.frames, s.size)) not in known:
            place = tmp_path_factory.mktemp("clip")
            known[key] = with_sam2.write(frames_of(s), place)
        return known[key]

    return folder


@pytest.fixture(scope="module")
def predictors(video_originals):
    """predictors(model): ours, loaded once; its settings are those of the builder."""
    known = {}

    def predictor(model, **settings):
        if model not in known:
            known[model] = build_sam2_video_predictor(CONFIG, video_originals.folder(model), "cpu")
        one = known[model]
        one.fill_hole_area, one.non_overlap_masks, one.add_all_frames_to_correct_as_cond = 8, 0, 0
        one.memory_temporal_stride_for_eval = 1
        for name, value in settings.items():
            assert hasattr(one, name)
            setattr(one, name, value)
        return one

    return predictor


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS])
def test_as_sam2(name, predictors, video_originals, folder_of):
    scenario, folder = named(name), folder_of(name)
    ours = predictors(scenario.model, **scenario.settings)
    mine = list(with_sam2.carry_out_with_segrid(ours, folder, scenario.steps))
    if scenario.size == (128, 128):  # the model's square: nothing is resized
        theirs = video_originals.sam2(name)
    else:
        original = sam2_predictor.load(video_originals.folder(scenario.model), **scenario.settings)
        theirs = list(with_sam2.carry_out_from_files(original, folder, scenario.steps))
    assert differences(mine, theirs) == []
    there = [s.scores > 0 for s in theirs]
    assert any(t.any() for t in there), "vacuous"
    for a, b, found in zip(mine, theirs, there, strict=True):
        assert a.logits.shape == b.logits.shape and a.logits.dtype == b.logits.dtype
        both = found & (a.scores > 0)
        apart, largest = (a.logits - b.logits)[both], np.abs(b.logits).max()
        assert not both.any() or np.sqrt((apart**2).mean()) < 0.01 * largest
