"""The training of tiny-video: its loop computes what transformers' session computes, its data are
right, and a step learns."""

import numpy as np
import pytest
import torch

from training.model import MEAN, STD
from training.video import loop
from training.video.initial import SIDE, fresh


@pytest.fixture(scope="module")
def model():
    """Initial weights, scaled so that masks and scores have both signs."""
    torch.manual_seed(1)
    model = fresh(0).eval()
    with torch.no_grad():
        model.memory_temporal_positional_encoding.normal_(0, 0.5)
        for block in model.memory_encoder.memory_fuser.layers:
            block.scale.fill_(1.0)
    return loop.prepare(model)


@pytest.fixture(scope="module")
def frames():
    """Six frames (T, S, S, 3) uint8 on which squares move."""
    rng = np.random.default_rng(0)
    video = np.repeat(rng.integers(0, 90, (1, SIDE, SIDE, 3)), 6, 0)
    for t in range(6):
        video[t, 40 + 12 * t : 120 + 12 * t, 30:110] = (200, 60, 40)
        video[t, 120:200, 200 - 20 * t : 250 - 20 * t] = (30, 80, 220)
    return video.astype(np.uint8)


def session_masks(model, frames, add):
    """Low-resolution masks (T, h, w) and scores (T,) of one object in transformers' session."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    pixels = ((torch.from_numpy(frames).float() - MEAN) / STD).permute(0, 3, 1, 2)
    session = Sam2VideoInferenceSession(
        video=pixels, video_height=SIDE, video_width=SIDE, dtype=torch.float32
    )
    add(session, session.obj_id_to_idx(1))
    session.obj_with_new_inputs = [1]
    model(session, frame_idx=0)
    found = list(model.propagate_in_video_iterator(session, start_frame_idx=0))
    masks = torch.stack([out.pred_masks[0, 0] for out in found])
    return masks, torch.stack([out.object_score_logits[0].squeeze() for out in found])


def mask_of(frames, colour):
    return torch.from_numpy((frames[0] == colour).all(-1)).float()


PROMPTS = {
    "mask": None,
    "click": ([[[60.0, 70.0]], [[220.0, 150.0]]], [[1], [1]]),
    "box": ([[[30.0, 40.0], [109.0, 119.0]], [[200.0, 120.0], [249.0, 199.0]]], [[2, 3], [2, 3]]),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_loop_is_the_session(model, frames, kind):
    """Two objects as rows of one batch against one session each."""
    masks = torch.stack([mask_of(frames, (200, 60, 40)), mask_of(frames, (30, 80, 220))])
    sessions = []
    for row in range(2):
        if kind == "mask":
            add = lambda s, i, row=row: s.add_mask_inputs(i, 0, masks[row][None, None])  # noqa: E731
        else:
            points, labels = (torch.tensor(x)[row][None, None] for x in PROMPTS[kind])
            add = lambda s, i, p=points, l=labels: s.add_point_inputs(  # noqa: E731
                i, 0, {"point_coords": p, "point_labels": l}
            )
        sessions.append(session_masks(model, frames, add))
    with torch.no_grad():
        every, scores = loop.follow(
            model, torch.from_numpy(frames), masks if kind == "mask" else PROMPTS[kind]
        )
    for row, (wanted, score) in enumerate(sessions):
        assert wanted[1:].std() > 1e-3 and (wanted[1:] - wanted[1]).abs().max() > 1e-3, "vacuous"
        assert (scores[1:, row] - score[1:]).abs().max() < 1e-4
        assert (every[:, row] - wanted).abs().max() < 1e-4 * wanted.abs().max()
