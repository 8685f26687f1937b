"""sam2's predictor and transformers' sessions on equal weights: they agree where their rules are
the same, and the weights and scenarios are such that every rule shows.

Where transformers (5.24) leaves sam2's rules (1.1):

- A refined prompt: sam2 gives the decoder the earlier logits of the frame as a mask prompt,
  transformers gives it the points alone.
- A mask as prompt: sam2 takes the object pointer from the single mask token, transformers from the
  best of three; sam2's memory is of the mask at low resolution, transformers' of the mask itself.
- Holes: sam2 fills small ones in low-res masks, and in what it remembers of prompts. transformers
  does not.
- A prompt on a frame that was a conditioning frame of a run: sam2 decodes it as a correction and
  loses the correction when it tracks again; transformers starts the frame anew.
- A correction of a frame that was tracked backward: sam2 looks at the memory in that direction,
  transformers in the direction of its argument `reverse`, which is forward.
- A prompt for one object: transformers tracks all other objects on that frame at once, and
  remembers their masks as if they came from prompts. sam2 leaves them alone.
- More conditioning frames than are looked at: transformers takes the pointers of all of them, and
  none as if it were a followed frame.
- transformers has no call that clears a prompt or removes an object, and no setting for overlaps,
  for corrections as conditioning frames, or for a stride of the memory.
- Frames: sam2 resizes JPEG files with Pillow's bicubic filter, transformers with a bilinear one.
  Here both get the same pixels."""

import numpy as np
import pytest
import torch

from tests.models import sam2_predictor
from tests.tracking.originals import differences
from tests.tracking.scenarios import MODELS, SCENARIOS, named

SAME_RULES = [s.name for s in SCENARIOS if s.as_transformers]
OTHER_RULES = (  # in the order of the list above, holes aside
    "refined on the first frame",
    "a mask",
    "the first frame is corrected after tracking",
    "a frame that was tracked backward is corrected",
    "an object joins before tracking, on a later frame",
    "prompts on more frames than are looked at",
)
# Settings of sam2's predictor, and a scenario in which each of them shows.
SHOWS = (
    ("one click, followed for 30 frames", "max_obj_ptrs_in_encoder", 2),
    ("one click, followed for 30 frames", "num_maskmem", 5),
    ("one click, followed for 30 frames", "binarize_mask_from_pts_for_mem_enc", False),
    ("one click, followed for 30 frames", "multimask_output_for_tracking", False),
    ("one click, followed for 30 frames", "memory_temporal_stride_for_eval", 2),
    ("one click, followed for 30 frames", "no_obj_embed_spatial", None),
    ("three objects, followed for 30 frames", "fill_hole_area", 0),
    (
        "an object joins before tracking, on a later frame",
        "only_obj_ptrs_in_the_past_for_eval",
        False,
    ),
    ("prompts on more frames than are looked at", "max_cond_frames_in_attn", -1),
    ("prompts on three frames", "max_cond_frames_in_attn", 2),
    ("a corrected frame conditions", "add_all_frames_to_correct_as_cond", False),
    ("without overlap", "non_overlap_masks", False),
)


@pytest.mark.parametrize("name", SAME_RULES)
def test_sam2_and_transformers_agree(originals, name):
    assert differences(originals.transformers(name), originals.sam2(name)) == []


@pytest.mark.parametrize("name", OTHER_RULES)
def test_they_part_where_their_rules_do(originals, name):
    assert differences(originals.transformers(name), originals.sam2(name, fill_hole_area=0))


def test_holes_are_filled_by_sam2_alone(originals):
    name = "one click, followed for 30 frames"
    assert differences(originals.transformers(name), originals.sam2(name, fill_hole_area=8))


@pytest.mark.parametrize("model", MODELS)
def test_masks_move_and_objects_are_lost_and_found(originals, model):
    name = {"sam2": "SAM 2, followed for 30 frames", "short memory": "short memory"}.get(
        model, "three objects, followed for 30 frames"
    )
    assert named(name).model == model
    masks, scores = [], []
    for shown in originals.sam2(name):
        if shown.step == len(named(name).steps) - 1:
            masks.append(shown.logits > 0)
            scores.append(shown.scores)
    scores, masks = np.array(scores), np.array(masks)
    there = scores > 0
    assert 0.3 < there.mean() < 0.97, "objects must be lost sometimes"
    assert (there[1:] & ~there[:-1]).any(), "objects must be found again"
    assert (masks.any((2, 3)) == there).all()
    areas = masks.mean((2, 3))[there]
    assert (areas > 0.02).all() and (areas < 0.95).all(), "neither empty nor full"
    both = there[1:] & there[:-1]
    moved = (masks[1:] ^ masks[:-1]).sum((2, 3)) / (masks[1:] | masks[:-1]).sum((2, 3)).clip(1)
    assert (moved[both] > 0).all() and np.median(moved[both]) > 0.05, "masks must move"


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS])
def test_scenarios_show_masks(originals, name):
    shown = originals.sam2(name)
    there = np.concatenate([s.scores[~np.isnan(s.scores)] for s in shown]) > 0
    masks = [mask for s in shown for mask in s.logits > 0]
    filled = [mask.mean() for mask in masks if mask.any()]
    assert there.mean() > (0.3 if name != "an empty mask" else 0.1)
    assert 0 < min(filled) and np.median(filled) < 0.9


def test_components_are_joined_at_corners():
    mask = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    mask[0, 0, 0, 0] = mask[0, 0, 1, 1] = mask[0, 0, 2, 0] = mask[0, 0, 5, 2:] = True
    labels, areas = sam2_predictor.connected_components(mask)
    assert labels[0, 0, 0, 0] == labels[0, 0, 1, 1] == labels[0, 0, 2, 0] != labels[0, 0, 5, 2]
    assert areas[0, 0, 0, 0] == 3 and areas[0, 0, 5, 5] == 4 and areas.sum() == 9 + 16


@pytest.mark.parametrize("name, setting, value", SHOWS)
def test_every_rule_shows(originals, name, setting, value):
    """Gates are narrow enough: another value of a setting is found by `differences`."""
    assert differences(originals.sam2(name, **{setting: value}), originals.sam2(name)), (
        f"{setting} does not show in {name!r}"
    )
