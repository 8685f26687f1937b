"""segrid.compat.sam2's inference states beside sam2's: frames that programs bring themselves, files
that are gone, copies, and what is refused."""

import copy
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from segrid.compat.sam2 import video_frames
from segrid.compat.sam2.build_sam import build_sam2_video_predictor

from tests.models import sam2_predictor
from tests.reference.sam2_calls import CONFIG
from tests.tracking import with_sam2
from tests.tracking.clip import blobs

CLICK = dict(points=np.array([[102, 64]], np.float32), labels=np.array([1], np.int32))
OTHER = dict(points=[[45, 91]], labels=[1])
FRAMES = blobs(6, 128, 128)


@pytest.fixture(scope="module")
def pair(video_originals):
    """(our predictor, sam2's) on equal weights."""
    weights = video_originals.folder("sam2.1")
    return build_sam2_video_predictor(CONFIG, weights, "cpu"), sam2_predictor.load(weights)


@pytest.fixture
def folder(tmp_path):
    """Six frames as files that a test may change."""
    return written(FRAMES, str(tmp_path / "clip"))


@pytest.fixture
def first(tmp_path):
    """A folder of another single frame, which programs give to init_state before their own."""
    (tmp_path / "first").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "first" / "0.jpg")
    return str(tmp_path / "first")


def written(frames, folder):
    os.makedirs(folder, exist_ok=True)
    return with_sam2.write(frames, folder)


def normalised(frames):
    """The (N, 3, 128, 128) tensor that sam2 makes of frames."""
    mean, deviation = (
        torch.tensor(v)[:, None, None] for v in (video_frames.MEAN, video_frames.DEVIATION)
    )
    return (torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255 - mean) / deviation


def followed(predictor, state, **run):
    return [logits for *_, logits in predictor.propagate_in_video(state, **run)]


def same(mine, theirs):
    assert len(mine) == len(theirs) and any((logits > 0).any() for logits in theirs), "vacuous"
    for a, b in zip(mine, theirs, strict=True):
        assert a.shape == b.shape and ((a > 0) != (b > 0)).sum() <= 4
        assert (a - b).pow(2).mean().sqrt() < 0.01 * b.abs().max()


def test_frames_that_a_program_writes_into_the_state(pair, first):
    """The usual recipe for frames in memory: any folder, then images, their number and size."""
    answers = []
    for predictor in pair:
        state = predictor.init_state(first)
        state["images"], state["num_frames"] = normalised(FRAMES), len(FRAMES)
        state["video_height"], state["video_width"] = 128, 128
        state["cached_features"] = {}
        shown = [predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2]]
        answers.append(shown + followed(predictor, state))
    same(*answers)
    assert len(answers[0]) == 1 + len(FRAMES)


def test_frames_that_come_while_objects_are_followed(pair, first):
    """As from a camera: the list grows, and each new frame is followed alone."""
    answers = []
    for predictor in pair:
        state = predictor.init_state(first)
        state["images"] = list(normalised(FRAMES[:1]))
        state["video_height"], state["video_width"] = 128, 128
        state["cached_features"] = {}
        shown = [predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2]]
        for number in range(1, 6):
            state["images"].append(normalised(FRAMES)[number])
            state["num_frames"] = number + 1
            shown += followed(predictor, state, start_frame_idx=number, max_frame_num_to_track=0)
        answers.append(shown)
    same(*answers)


def test_frames_that_come_together_while_objects_are_followed(pair, first):
    answers = []
    for predictor in pair:
        state = predictor.init_state(first)
        state["images"], state["num_frames"] = normalised(FRAMES[:2]), 2
        state["video_height"], state["video_width"] = 128, 128
        state["cached_features"] = {}
        shown = [predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2]]
        shown += followed(predictor, state)
        state["images"], state["num_frames"] = normalised(FRAMES), 6
        answers.append(shown + followed(predictor, state, start_frame_idx=2))
    same(*answers)
    assert len(answers[0]) == 7


def test_images_that_are_replaced_between_runs(pair, folder):
    """The features of earlier images are not used again."""
    answers = []
    for predictor in pair:
        state = predictor.init_state(folder)
        shown = [predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2]]
        state["images"] = normalised(FRAMES[::-1])
        state["cached_features"] = {}
        shown.append(predictor.add_new_points_or_box(state, 0, 2, **OTHER)[2])
        answers.append(shown + followed(predictor, state))
    same(*answers)


def test_what_cannot_be_written_says_why(pair, folder):
    predictor = pair[0]
    state = predictor.init_state(folder)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    state["video_height"] = 64
    with pytest.raises(ValueError, match="call reset_state before another video begins"):
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.reset_state(state)
    assert predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2].shape == (1, 1, 64, 128)
    predictor.reset_state(state)
    state["images"] = torch.zeros(6, 3, 64, 64)
    with pytest.raises(ValueError, match=r"expected a tensor of shape \(3, 128, 128\)"):
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    with pytest.raises(AttributeError, match="which you may change and write back"):
        predictor.init_state(folder)["images"].append(torch.zeros(3, 128, 128))


def test_frames_in_memory_open_a_video(pair, folder):
    """An extension of segrid: arrays and PIL images in place of a path."""
    exact = [np.asarray(Image.open(os.path.join(folder, n))) for n in sorted(os.listdir(folder))]
    shown = []
    for video in (folder, exact, np.stack(exact), [Image.fromarray(frame) for frame in exact]):
        state = pair[0].init_state(video)
        pair[0].add_new_points_or_box(state, 0, 1, **CLICK)
        shown.append(torch.stack(followed(pair[0], state)))
    assert all(torch.equal(one, shown[0]) for one in shown)


def test_a_state_of_a_programs_own_is_refused(pair):
    calls = (
        lambda p, s: p.add_new_points_or_box(s, 0, 1, **CLICK),
        lambda p, s: p.add_new_mask(s, 0, 1, np.ones((8, 8), bool)),
        lambda p, s: p.clear_all_prompts_in_frame(s, 0, 1),
        lambda p, s: p.remove_object(s, 1),
        lambda p, s: list(p.propagate_in_video(s)),
        lambda p, s: p.reset_state(s),
    )
    for call in calls:
        with pytest.raises(TypeError, match="For frames in memory call init_state"):
            call(pair[0], {"images": [], "num_frames": 0})


# ---- files


def test_a_folder_may_go_after_init_state(pair, folder, monkeypatch):
    """Its files may be removed or replaced, and the program may change its working directory."""
    monkeypatch.chdir(os.path.dirname(folder))
    answers = []
    for predictor in pair[::-1]:
        state = predictor.init_state("clip")
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        if predictor is pair[0]:
            written(FRAMES[::-1], folder)
        answers.append(followed(predictor, state))
        shutil.rmtree(folder)
        written(FRAMES, folder)
    same(*answers)


def test_a_folder_above_the_bound_must_stay(pair, folder, monkeypatch):
    monkeypatch.setattr(video_frames, "KEPT_BYTES", 1)
    monkeypatch.chdir(os.path.dirname(folder))
    state = pair[0].init_state("clip")
    monkeypatch.chdir("/")
    pair[0].add_new_points_or_box(state, 0, 1, **CLICK)
    assert len(followed(pair[0], state, max_frame_num_to_track=2)) == 3
    Image.new("RGB", (128, 128)).save(os.path.join(folder, "5.jpg"))
    with pytest.raises(FileNotFoundError, match=r"5\.jpg: this frame is gone, or another file"):
        followed(pair[0], state)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="this frame is gone"):
        followed(pair[0], state)


def test_a_damaged_file_is_named(pair, folder):
    with open(os.path.join(folder, "3.jpg"), "wb") as file:
        file.write(b"no picture")
    state = pair[0].init_state(folder)
    pair[0].add_new_points_or_box(state, 0, 1, **CLICK)
    with pytest.raises(OSError, match=r"3\.jpg: cannot identify"):
        followed(pair[0], state)


# ---- the rest


def test_a_copied_state_goes_on_by_itself(pair, folder):
    predictor = pair[0]
    state = predictor.init_state(folder)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    followed(predictor, state, max_frame_num_to_track=2)
    other = copy.deepcopy(state)
    predictor.add_new_points_or_box(other, 0, 2, **OTHER)
    assert state["obj_ids"] == [1] and other["obj_ids"] == [1, 2]
    alone, both = followed(predictor, state), followed(predictor, other)
    torch.testing.assert_close(torch.stack(alone)[:, 0], torch.stack(both)[:, 0])
    predictor.reset_state(state)
    assert other["session"].ids == [1, 2] and other["images"] is state["images"]


def test_ids_that_are_no_numbers_are_named(pair, folder):
    state = pair[0].init_state(folder)
    for call in (
        lambda: pair[0].add_new_points_or_box(state, 0, "person", **CLICK),
        lambda: pair[0].clear_all_prompts_in_frame(state, 0, "person"),
    ):
        with pytest.raises(TypeError, match="obj_id: expected a whole number, got 'person'"):
            call()
    assert pair[0].add_new_points_or_box(state, 0, np.int64(3), **CLICK)[1] == [3]


def test_inner_steps(pair, folder):
    """One is offered, because a tool of sam2's calls it; the others say where to look."""
    logits = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    mine, theirs = (p._apply_non_overlapping_constraints(logits) for p in pair)
    assert torch.equal(mine, theirs)
    with pytest.raises(AttributeError, match=r"embedding\(frame\)\.features"):
        pair[0]._get_image_feature(pair[0].init_state(folder), 0, 1)
