"""Sessions of segrid.compat.transformers beside transformers' own, beyond the usual calls: masks of
numbers, inputs that are refused, and streams that are long or begin without an object."""

import numpy as np
import pytest
import torch
import transformers
from segrid.compat.transformers import (
    Sam2VideoInferenceSession,
    Sam2VideoModel,
    Sam2VideoProcessor,
)
from transformers import Sam2VideoInferenceSession as original_session

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
    with pytest.raises(TypeError, match="obj_ids: expected whole numbers, got"):
        ours[1].add_inputs_to_inference_session(opened(ours, frames, **POINT), 0, ["a"], **POINT)


def test_what_programs_read_and_write_of_sessions(ours, theirs, frames):
    """Several objects get inputs by several calls, which transformers takes with this write."""
    answers = []
    for pair in (ours, theirs):
        model, processor = pair
        session = opened(pair, frames, **POINT)
        processor.add_inputs_to_inference_session(session, 0, 2, input_boxes=[[[30, 70, 60, 110]]])
        session.obj_with_new_inputs = [1, 2]
        found = model(session, frame_idx=0)
        assert "pred_masks" in found and "loss" not in found and len(found) == 4
        assert found.get("frame_idx") == 0 and found.get("loss", 7) == 7
        assert list(found) == list(found.keys()) == [name for name, _ in found.items()]
        assert found.to_tuple()[0] == found[0] == found["object_ids"] == [1, 2]
        assert len(session.processed_frames) == 6 and set(session.processed_frames) == set(range(6))
        assert 6 not in session.processed_frames
        if pair is ours:
            with pytest.raises(AttributeError, match="'cache': memory and results are in segrid's"):
                session.cache  # noqa: B018
        answers.append((found.pred_masks, session.get_frame(5), session.processed_frames[0]))
    for mine, other in zip(*answers, strict=True):
        assert mine.shape == other.shape and mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, atol=0.01 * float(other.abs().max()), rtol=0)


def test_sessions_that_programs_make_themselves(ours, theirs, frames):
    """As transformers' class is called: with a whole video, or for a stream."""
    video = with_transformers.pixels(np.stack(frames), SIDE)
    answers = []
    for kind, pair in ((Sam2VideoInferenceSession, ours), (original_session, theirs)):
        model, processor = pair
        whole = kind(video=video, video_height=SIDE, video_width=SIDE, dtype=torch.float32)
        processor.add_inputs_to_inference_session(whole, 0, 1, **POINT)
        model(whole, frame_idx=0)
        shown = [one.pred_masks for one in model.propagate_in_video_iterator(whole)]
        pushed = kind(dtype=torch.float32)
        assert pushed.processed_frames is None and pushed.num_frames is None
        processor.add_inputs_to_inference_session(pushed, 0, 1, **POINT, original_size=(SIDE, SIDE))
        shown += [model(pushed, frame=frame).pred_masks for frame in video[:3]]
        answers.append(torch.stack(shown))
    mine, other = answers
    assert mine.shape == other.shape == (9, 1, 1, SIDE // 4, SIDE // 4)
    assert ((mine > 0) != (other > 0)).sum() <= 8 and (other > 0).any()


def test_inputs_of_the_processor_are_a_dict(ours, frames):
    inputs = ours[1](images=frames[0])
    assert sorted(dict(inputs)) == sorted(inputs.keys()) == ["original_sizes", "pixel_values"]
    assert inputs["pixel_values"] is inputs.pixel_values
    assert inputs.to(torch.float64).pixel_values.dtype == torch.float64
    assert not hasattr(inputs, "input_ids")


def test_calls_of_a_torch_module(ours, theirs, frames):
    model = ours[0]
    assert model.compile() is None and model.num_parameters() == theirs[0].num_parameters()
    found = model(opened(ours, frames, **POINT), frame_idx=0)
    compiled = torch.compile(model)(opened(ours, frames, **POINT), frame_idx=0)
    assert torch.equal(found.pred_masks, compiled.pred_masks)


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
