"""Sessions of segrid.compat.transformers beside transformers' own, beyond the usual calls: masks of
numbers, inputs that are refused, and streams that are long or begin without an object."""

import numpy as np
import pytest
import torch
import transformers
from segrid.compat.transformers import Sam2VideoModel, Sam2VideoProcessor

from tests.compat.test_sam2_video_calls import tensors
from tests.compat.test_transformers_video import session_of
from tests.tracking import with_transformers
from tests.tracking.clip import blobs

POINT = dict(input_points=[[[[102, 64]]]], input_labels=[[[1]]])
SIDE = 128


@pytest.fixture(scope="module")
def ours(video_originals):
    folder = video_originals.folder("sam2.1")
    return tuple(kind.from_pretrained(folder) for kind in (Sam2VideoModel, Sam2VideoProcessor))


@pytest.fixture(scope="module")
def theirs(video_originals):
    return video_originals.original("sam2.1"), with_transformers.processor(SIDE)


@pytest.fixture(scope="module")
def frames():
    return list(blobs(6, SIDE, SIDE))


def opened(pair, frames, **inputs):
    model, processor = pair
    session = session_of(model, processor, np.stack(frames))
    processor.add_inputs_to_inference_session(session, 0, 1, **inputs)
    return session


@pytest.mark.parametrize("size", [100, 260])
def test_masks_of_numbers_mean_what_they_mean_to_transformers(ours, theirs, frames, size):
    for mask in tensors(size).values():
        mine, other = (
            pair[0](opened(pair, frames, input_masks=mask), frame_idx=0).pred_masks
            for pair in (ours, theirs)
        )
        assert ((mine > 0) != (other > 0)).sum() <= 2


@pytest.mark.parametrize("bad", [dict(frame_idx=50), dict(input_points=[[[[np.nan, 3]]]])])
def test_inputs_that_are_refused_are_dropped(ours, frames, bad):
    model, processor = ours
    session = opened(ours, frames, **POINT)
    given = {"frame_idx": 0, "obj_ids": 2, **POINT, **bad}
    processor.add_inputs_to_inference_session(session, **given)
    with pytest.raises((ValueError, IndexError)):
        model(session, frame_idx=given["frame_idx"])
    assert session.obj_ids == [1]
    found = list(model.propagate_in_video_iterator(session))
    assert [one.frame_idx for one in found] == list(range(6))
    assert len(found[0].to_tuple()) == 4


def test_ids_are_whole_numbers(ours, frames):
    with pytest.raises(TypeError):
        ours[1].add_inputs_to_inference_session(opened(ours, frames, **POINT), 0, ["a"], **POINT)


def stream(pair, frames, prompted):
    """Pushes frames to a session whose object gets its inputs before frame `prompted`. Gives
    (frame, whether there was an answer)."""
    model, processor = pair
    if hasattr(model, "tracker"):
        session = processor.init_video_session()
    else:
        session = transformers.Sam2VideoInferenceSession(dtype=torch.float32)
    for index, frame in enumerate(frames):
        if index == prompted:
            processor.add_inputs_to_inference_session(
                session, index, 1, **POINT, original_size=frame.shape[:2]
            )
        pixels = with_transformers.pixels(frame[None], SIDE)[0]
        try:
            yield model(session, frame=pixels).frame_idx, True
        except ValueError as error:
            assert "No objects are provided for tracking" in str(error)
            yield index, False
    assert session.num_frames == len(frames)


def test_frames_before_the_first_object_are_counted(ours, theirs, frames):
    mine, other = (list(stream(pair, frames, 2)) for pair in (ours, theirs))
    assert mine == other == [(index, index >= 2) for index in range(6)]


def test_a_long_stream_takes_prompts_of_old_frames_and_many_objects(ours, frames):
    model, processor = ours
    session = processor.init_video_session()
    processor.add_inputs_to_inference_session(session, 0, 1, **POINT, original_size=(SIDE, SIDE))
    for index in range(110):
        pixels = with_transformers.pixels(frames[index % 6][None], SIDE)[0]
        answer = model(session, frame=pixels)
    assert answer.frame_idx == 109
    processor.add_inputs_to_inference_session(session, 3, 2, **POINT)
    assert model(session, frame_idx=3).pred_masks.shape == (2, 1, SIDE // 4, SIDE // 4)
    many = processor.init_video_session(video=frames)
    for id in range(260):
        processor.add_inputs_to_inference_session(many, 0, id, **POINT)
    assert len(model(many, frame_idx=0).object_ids) == 260
