"""segrid.compat.transformers' video sessions beside transformers' own: the scenarios in which its
rules are sam2's, streams, and the results and errors that scripts rely on."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from segrid.compat.transformers import Sam2VideoModel, Sam2VideoProcessor

from tests.tracking import with_transformers
from tests.tracking.clip import blobs, pixels
from tests.tracking.originals import differences, frames_of
from tests.tracking.scenarios import SCENARIOS, named
from tests.tracking.steps import Ellipse

# Where transformers' rules are not sam2's, but those of the drop-in: earlier logits are no hint, a
# prompted frame starts anew, and corrections look where the argument `reverse` says.
RULES_OF_ITS_OWN = (
    "refined on the first frame",
    "clicks replaced",
    "a tracked frame is corrected",
    "the first frame is corrected after tracking",
    "a frame that was tracked backward is corrected",
)
POINT = dict(input_points=[[[[102, 64]]]], input_labels=[[[1]]])
OTHER = dict(input_points=[[[[45, 91]]]], input_labels=[[[1]]])


@pytest.fixture(scope="module")
def ours(video_originals):
    """ours(model): (model, processor), loaded once."""
    known = {}

    def load(model):
        if model not in known:
            folder = video_originals.folder(model)
            parts = (Sam2VideoModel, Sam2VideoProcessor)
            known[model] = tuple(part.from_pretrained(folder) for part in parts)
        return known[model]

    return load


def as_torchvision(frames, side):
    """What transformers' video processor makes of (T, H, W, 3) uint8 frames through torchvision:
    squares of 8 bits, then normalised."""
    bytes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(bytes, (side, side), mode="bilinear", antialias=True)
    assert resized.dtype == torch.uint8
    return pixels(resized.permute(0, 2, 3, 1).numpy(), side)


@pytest.mark.parametrize(
    "name", [*(s.name for s in SCENARIOS if s.as_transformers), *RULES_OF_ITS_OWN]
)
def test_as_transformers(name, ours, video_originals, monkeypatch):
    scenario = named(name)
    mine = with_transformers.carry_out_with_segrid(
        *ours(scenario.model), frames_of(scenario), scenario.steps
    )
    if scenario.size == (128, 128):  # the model's square: nothing is resized
        theirs = video_originals.transformers(name)
    else:
        monkeypatch.setattr(with_transformers, "pixels", as_torchvision)
        model = video_originals.original(scenario.model)
        theirs = list(with_transformers.carry_out(model, frames_of(scenario), scenario.steps))
    assert any((shown.scores > 0).any() for shown in theirs), "vacuous"
    assert differences(list(mine), theirs) == []


@pytest.fixture(scope="module")
def pair(ours, video_originals):
    """[(model, processor)] of segrid and of transformers, on equal weights."""
    model = video_originals.original("sam2.1")
    return [ours("sam2.1"), (model, with_transformers.processor(128))]


def session_of(model, processor, frames):
    if isinstance(model, Sam2VideoModel):
        return processor.init_video_session(video=[Image.fromarray(f) for f in frames])
    return with_transformers.opened(model, frames)


def same(mine, theirs):
    """Outputs that show the same masks, and have the same types and shapes."""
    assert mine.object_ids == theirs.object_ids and mine.frame_idx == theirs.frame_idx
    for name in ("pred_masks", "object_score_logits"):
        a, b = getattr(mine, name), getattr(theirs, name)
        assert a.shape == b.shape and a.dtype == b.dtype == torch.float32
        assert mine[name] is a
    a, b = mine.pred_masks, theirs.pred_masks
    assert ((a > 0) != (b > 0)).sum() <= 2 and (a - b).pow(2).mean().sqrt() < 0.01 * b.abs().max()
    assert (mine.object_score_logits - theirs.object_score_logits).abs().max() < 0.1


def test_results_are_what_transformers_returns(pair):
    frames, answers = blobs(6, 128, 128), []
    for model, processor in pair:
        session = session_of(model, processor, frames)
        assert (session.num_frames, session.video_height, session.video_width) == (6, 128, 128)
        add = processor.add_inputs_to_inference_session
        assert add(inference_session=session, frame_idx=0, obj_ids=5, **POINT) is None
        assert session.obj_ids == [5] and session.obj_with_new_inputs == [5]
        shown = [model(inference_session=session, frame_idx=0)]
        add(
            session, 0, 5, input_points=[[[[98, 72]]]], input_labels=[[[1]]], clear_old_inputs=False
        )
        shown.append(model(session, frame_idx=0))  # both points, and no earlier mask
        assert session.obj_with_new_inputs == []
        shown += model.propagate_in_video_iterator(session, max_frame_num_to_track=2)
        shown.append(model(session, frame_idx=3))
        assert session.get_obj_num() == 1 and session.obj_idx_to_id(0) == 5
        session.reset_tracking_data()
        both = dict(
            input_points=[[[[102, 64], [98, 72]], [[45, 91], [60, 30]]]],
            input_labels=[[[1, 1], [1, 0]]],
            input_boxes=None,
        )
        add(session, 1, [4, 2], **both)
        shown.append(model(session, frame_idx=1))
        shown += model.propagate_in_video_iterator(session, start_frame_idx=1, reverse=True)
        session.reset_inference_session()
        add(
            session,
            0,
            1,
            input_boxes=[[[84.0, 46, 120, 82]]],
            input_points=torch.tensor([[[[70.0, 64]]]]),
            input_labels=torch.tensor([[[0]]]),
        )
        shown.append(model(session, frame_idx=0))
        answers.append(shown)
    mine, theirs = answers
    assert len(mine) == len(theirs) == 10
    assert sum((shown.pred_masks > 0).any().item() for shown in theirs) > 6, "vacuous"
    for a, b in zip(mine, theirs, strict=True):
        same(a, b)


def test_masks_of_any_size_and_points_outside(pair):
    """The frame in which they are given; what follows a mask has other rules here."""
    frames, answers = blobs(2, 128, 128), []
    masks = [Ellipse(33, 19, 8, 6).drawn(61, 37), Ellipse(70, 60, 20, 25).drawn(128, 128)]
    for model, processor in pair:
        session = session_of(model, processor, frames)
        add = processor.add_inputs_to_inference_session
        add(session, 0, [1, 2], input_masks=masks)
        shown = [model(session, frame_idx=0)]
        session.reset_tracking_data()
        add(session, 0, 1, input_points=[[[[-40, 20], [150, 70]]]], input_labels=[[[0, 1]]])
        answers.append([*shown, model(session, frame_idx=0)])
    for (a, b), (c, d) in [answers]:
        assert (c.pred_masks > 0).any() and (d.pred_masks > 0).any(), "vacuous"
        torch.testing.assert_close(a.pred_masks, c.pred_masks, atol=1e-4, rtol=1e-4)
        same(b, d)


def test_a_mask_takes_the_place_of_points(pair):
    answers = []
    for model, processor in pair:
        session = session_of(model, processor, blobs(2, 128, 128))
        add = processor.add_inputs_to_inference_session
        add(session, 0, 1, **POINT)
        mask = Ellipse(70, 60, 20, 25).drawn(128, 128)
        add(session, 0, 1, input_masks=mask, clear_old_inputs=False)
        answers.append(model(session, frame_idx=0))
    same(*answers)


def test_a_stream(pair):
    """Frames that come one by one; a second object joins in the third."""
    frames, answers = blobs(9, 128, 128), []
    mine, theirs = pair
    processor = mine[1]
    for model, inputs in pair:
        if model is mine[0]:
            session = inputs.init_video_session()
        else:
            session = transformers.Sam2VideoInferenceSession(dtype=torch.float32)
        assert session.num_frames is None
        shown = []
        for number, frame in enumerate(frames):
            read = processor(images=Image.fromarray(frame), device="cpu", return_tensors="pt")
            if number == 0:
                inputs.add_inputs_to_inference_session(
                    session, 0, 1, original_size=read.original_sizes[0], **POINT
                )
            shown.append(model(inference_session=session, frame=read.pixel_values[0]))
        assert session.num_frames == 9
        answers.append(shown)
    assert any((shown.pred_masks > 0).any() for shown in answers[1]), "vacuous"
    for a, b in zip(*answers, strict=True):
        same(a, b)
    torch.testing.assert_close(read.pixel_values, pixels(frames[-1:], 128))
    assert read["original_sizes"].tolist() == [[128, 128]]


def test_objects_join_a_stream(ours):
    model, processor = ours("sam2.1")
    session = processor.init_video_session()
    for number, frame in enumerate(blobs(5, 190, 96)):
        read = processor(images=frame)
        for id, first in ((1, 0), (2, 2)):
            if number == first:
                processor.add_inputs_to_inference_session(
                    session, number, id, original_size=read.original_sizes[0], **POINT
                )
        found = model(session, frame=read.pixel_values)
        assert found.object_ids == [1, 2][: 1 + (number >= 2)] and found.frame_idx == number
        assert not found.object_score_logits.isnan().any()
        masks = processor.post_process_masks([found.pred_masks], read.original_sizes)[0]
        assert masks.shape == (len(found.object_ids), 1, 96, 190) and masks.dtype == torch.bool


def original_functions(*names):
    """An object with these functions of transformers' Sam2ImageProcessor, read from its source."""
    folder = Path(transformers.__file__).parent / "models/sam2"
    tree = ast.parse((folder / "image_processing_sam2.py").read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in names]
    assert len(found) == len(names)
    scope = {"torch": torch, "np": np, "F": torch.nn.functional}
    exec(compile(ast.Module(found, []), "image_processing_sam2.py", "exec"), scope)
    return type("Functions", (), {name: scope[name] for name in names})()


def test_post_processing_is_transformers(pair):
    """Also with the constraint that objects do not overlap. (transformers' class needs torchvision;
    these two functions of it do not.)"""
    theirs = original_functions("post_process_masks", "_apply_non_overlapping_constraints")
    logits = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 5
    for options in (
        dict(),
        dict(binarize=False),
        dict(mask_threshold=1.5),
        dict(apply_non_overlapping_constraints=True, binarize=False),
    ):
        sizes = torch.tensor([[50, 70], [128, 128]])
        mine = pair[0][1].post_process_masks([logits, logits[:1].numpy()], sizes, **options)
        other = theirs.post_process_masks([logits, logits[:1].numpy()], sizes, **options)
        assert len(mine) == len(other) == 2
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_errors_that_scripts_catch(pair):
    frames = blobs(3, 128, 128)
    for model, processor in pair:
        session = session_of(model, processor, frames)
        add = processor.add_inputs_to_inference_session
        with pytest.raises(ValueError, match="Cannot determine the starting frame index"):
            next(model.propagate_in_video_iterator(session))
        for wrong, message in (
            (dict(input_points=[[[[1, 2]]]]), "provided together"),
            (dict(), "at least one of points, boxes, or masks"),
            (dict(input_masks=np.ones((128, 128)), **POINT), "masks cannot be provided together"),
            (dict(input_boxes=[[[1, 2, 30, 40]]], clear_old_inputs=False), "without clearing old"),
            (dict(input_points=[[[1, 2]]], input_labels=[[[1]]]), "expected nesting format"),
            (dict(input_masks=[np.ones((128, 128))] * 2), "does not match number of masks"),
            (dict(input_masks=np.ones(128)), "unsupported number of dimensions: 1"),
        ):
            with pytest.raises(ValueError, match=message):
                add(session, 0, 1, **wrong)
        with pytest.raises(ValueError, match="does not match number of points"):
            add(session, 0, [1, 2], **POINT)
        stream = (
            processor.init_video_session()
            if model is pair[0][0]
            else transformers.Sam2VideoInferenceSession(dtype=torch.float32)
        )
        with pytest.raises(ValueError, match="original_size must be provided"):
            add(stream, 0, 1, **POINT)
        with pytest.raises(ValueError, match="No objects are provided for tracking"):
            model(stream, frame=torch.zeros(3, 128, 128))


def test_errors_of_our_own(ours):
    model, processor = ours("sam2.1")
    session = processor.init_video_session(video=blobs(3, 128, 128))
    processor.add_inputs_to_inference_session(session, 3, 1, **POINT)
    with pytest.raises(IndexError, match="there is no frame 3"):
        model(session, frame_idx=3)
    with pytest.raises(ValueError, match="streams begin without one"):
        model(session, frame=torch.zeros(3, 128, 128))
    other = Sam2VideoProcessor(target_size=64).init_video_session(video=blobs(2, 128, 128))
    processor.add_inputs_to_inference_session(other, 0, 1, **POINT)
    with pytest.raises(ValueError, match="side of 64 pixels, and the model takes 128"):
        model(other, frame_idx=0)
    with pytest.raises(NotImplementedError, match="add_inputs_to_inference_session"):
        processor(images=blobs(1, 32, 32)[0], input_points=[[[[1, 2]]]])
    stream = processor.init_video_session()
    processor.add_inputs_to_inference_session(stream, 0, 1, original_size=(128, 128), **POINT)
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        model(stream, frame=torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="is not the next one"):
        model(stream, frame_idx=4, frame=torch.zeros(3, 128, 128))


def test_videos_in_every_form(ours):
    model, processor = ours("sam2.1")
    frames = blobs(2, 128, 100)
    shown = []
    for video in (
        frames,
        list(frames),
        [list(frames)],
        [Image.fromarray(f) for f in frames],
        torch.from_numpy(frames).permute(0, 3, 1, 2),
        [torch.from_numpy(f).permute(2, 0, 1) for f in frames],
    ):
        session = processor.init_video_session(video=video, dtype=torch.bfloat16)
        assert (session.video_height, session.video_width) == (100, 128)
        processor.add_inputs_to_inference_session(session, 0, 1, **POINT)
        shown.append(model(session, frame_idx=0).pred_masks)
    assert shown[0].std() > 0 and all(torch.equal(one, shown[0]) for one in shown[1:])
    session = processor.init_video_session(video=frames)
    mask = np.zeros((100, 128), bool)
    mask[30:60, 40:90] = True
    processor.add_inputs_to_inference_session(session, 0, [3], input_masks=[mask[None]])
    found = model.propagate_in_video_iterator(session, show_progress_bar=False)
    first = processor.post_process_masks([next(found).pred_masks], [(100, 128)])[0][0, 0]
    assert (first.numpy() ^ mask).mean() < 0.01


def test_the_model_is_a_model(ours):
    model, _ = ours("sam2.1")
    assert model.to("cpu", dtype=torch.bfloat16).eval() is model
    assert model.device == torch.device("cpu") and model.dtype == torch.float32
    assert model.config.model_type == "sam2_video"
