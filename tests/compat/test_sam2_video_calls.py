"""segrid.compat.sam2's video predictor beside sam2's: types, state, errors, settings, files."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from segrid.compat.sam2.build_sam import build_sam2_video_predictor
from segrid.compat.sam2.sam2_video_predictor import SAM2VideoPredictor, SAM2VideoPredictorVOS
from segrid.compat.sam2.video_frames import load_video_frames

from tests.models import sam2_predictor
from tests.reference.sam2_calls import CONFIG
from tests.tracking import with_sam2
from tests.tracking.clip import blobs

CLICK = dict(points=np.array([[102, 64]], np.float32), labels=np.array([1], np.int32))
OTHER = dict(points=[[45, 91]], labels=[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six frames as files."""
    return str(with_sam2.write(blobs(6, 128, 128), tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def pair(video_originals):
    """(our predictor, sam2's) on equal weights."""
    weights = video_originals.folder("sam2.1")
    return (
        build_sam2_video_predictor(CONFIG, weights, "cpu"),
        sam2_predictor.load(weights),
    )


def same(mine, theirs):
    """Logits that show the same masks, and have the same type and shape."""
    assert mine.shape == theirs.shape and mine.dtype == theirs.dtype == torch.float32
    assert mine.device == theirs.device
    assert ((mine > 0) != (theirs > 0)).sum() <= 4
    assert (mine - theirs).pow(2).mean().sqrt() < 0.01 * theirs.abs().max()


def tensors(size):
    """Masks of numbers as programs keep them, and what they mean to the originals."""
    logits = torch.full((size, size), -4.0)
    logits[30:60, 40:80] = 4
    return {
        "logits": logits,
        "unsure": torch.full((size, size), 0.2),
        "probabilities": logits.sigmoid(),
        "bytes": (logits > 0).to(torch.uint8) * 255,
        "bool": logits > 0,
    }


@pytest.mark.parametrize("size", [100, 260])  # not that of the model's square, see mask_of_prompt
def test_masks_of_numbers_mean_what_they_mean_to_sam2(pair, folder, size):
    """Logits that are negative outside the object are not a mask of the whole frame."""
    for mask in tensors(size).values():
        mine, theirs = (
            predictor.add_new_mask(predictor.init_state(folder), 0, 1, mask)[2]
            for predictor in pair
        )
        assert ((mine > 0) != (theirs > 0)).sum() <= 4
    as_array = pair[0].add_new_mask(pair[0].init_state(folder), 0, 1, tensors(size)["bool"].numpy())
    assert 0 < (as_array[2] > 0).float().mean() < 0.2


def test_threads_that_share_a_state_wait_for_each_other(pair, folder):
    """As in web services: one thread follows, others prompt."""
    predictor = pair[0]
    state = predictor.init_state(folder)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)

    def click(id):
        return [predictor.add_new_points_or_box(state, 0, id, **OTHER)[0] for _ in range(5)]

    with ThreadPoolExecutor(2) as threads:
        clicks = [threads.submit(click, id) for id in (2, 3)]
        assert [shown[0] for shown in predictor.propagate_in_video(state)] == list(range(6))
        assert [one.result() for one in clicks] == [[0] * 5] * 2


def test_results_are_what_sam2_returns(pair, folder):
    answers = []
    for predictor in pair:
        state = predictor.init_state(folder)
        shown = [predictor.add_new_points_or_box(state, 0, 5, **CLICK)]
        shown.append(predictor.add_new_points(state, 1, 3, **OTHER))
        assert list(state["obj_ids"]) == [5, 3]
        assert predictor.propagate_in_video_preflight(state) is None
        shown += predictor.propagate_in_video(state, max_frame_num_to_track=2)
        shown += predictor.propagate_in_video(state, start_frame_idx=9)
        shown.append(predictor.clear_all_prompts_in_frame(state, 1, 3))
        assert predictor.clear_all_prompts_in_frame(state, 1, 3, need_output=False) is None
        shown.append(predictor.add_new_points_or_box(state, 4, 3, **OTHER))
        ids, updated = predictor.remove_object(state, 5)
        assert ids == state["obj_ids"] == [3] and [f for f, _ in updated] == [0]
        shown += [(frame, list(ids), logits) for frame, logits in updated]  # sam2 clears the list
        assert predictor.remove_object(state, 77) == ([3], [])
        assert predictor.remove_object(state, 3) == ([], []) and state["obj_ids"] == []
        answers.append(shown)
    mine, theirs = answers
    assert len(mine) == len(theirs) == 8
    assert [(type(f), f, ids) for f, ids, _ in mine] == [(type(f), f, ids) for f, ids, _ in theirs]
    assert any((logits > 0).any() for _, _, logits in theirs), "vacuous"
    for (_, _, a), (_, _, b) in zip(mine, theirs, strict=True):
        same(a, b)


def test_the_state_that_scripts_read(pair, folder):
    mine, theirs = (predictor.init_state(video_path=folder) for predictor in pair)
    assert isinstance(mine, dict)
    for key in ("num_frames", "video_height", "video_width", "obj_ids", "device", "storage_device"):
        assert mine[key] == theirs[key] and type(mine[key]) is type(theirs[key]), key
    assert mine["images"].shape == theirs["images"].shape and len(mine["images"]) == 6
    for index in (0, 5, -1, slice(1, 4)):
        torch.testing.assert_close(mine["images"][index], theirs["images"][index])
    with pytest.raises(IndexError):
        mine["images"][6]
    with pytest.raises(KeyError, match="obj_ids"):
        mine["output_dict_per_obj"]
    assert "output_dict_per_obj" not in mine and mine.get("constants") is None


def test_frames_are_sam2s(tmp_path):
    """Real JPEG files of another shape, whose numbers do not sort as text; one is turned by EXIF,
    which sam2 does not look at."""
    from sam2.utils import misc

    for number, frame in enumerate(blobs(3, 150, 90)):
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(frame).save(tmp_path / f"{9 + number}.jpg", quality=90, exif=exif)
    (tmp_path / "notes.txt").write_text("no frame")
    mine, theirs = (
        load(str(tmp_path), 64, True) for load in (load_video_frames, misc.load_video_frames)
    )
    assert mine[1:] == theirs[1:] == (90, 150)
    torch.testing.assert_close(mine[0][:], theirs[0], atol=1e-6, rtol=1e-6)


def test_errors_that_scripts_catch(pair, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "named").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "named" / "first.jpg")
    for predictor in pair:
        with pytest.raises(NotImplementedError, match="Only MP4 video and JPEG folder"):
            predictor.init_state(str(tmp_path / "clip.mov"))
        with pytest.raises(RuntimeError, match="no images found in"):
            predictor.init_state(str(tmp_path / "empty"))
        with pytest.raises(ValueError, match="invalid literal for int"):
            predictor.init_state(str(tmp_path / "named"))
        state = predictor.init_state(folder)
        with pytest.raises(RuntimeError, match="No input points or masks are provided for any"):
            next(predictor.propagate_in_video(state))
        with pytest.raises(RuntimeError, match="Cannot remove object id 7"):
            predictor.remove_object(state, 7, strict=True)
        for wrong, message in (
            (dict(points=[[1, 2]]), "must be provided together"),
            (dict(), "at least one of points or box"),
            (dict(box=[1, 2, 30, 40], clear_old_points=False), "without clearing old points"),
        ):
            with pytest.raises(ValueError, match=message):
                predictor.add_new_points_or_box(state, 0, 1, **wrong)
        with pytest.raises(AssertionError):
            predictor.add_new_mask(state, 0, 1, np.ones((1, 128, 128), bool))
        predictor.reset_state(state)
        with pytest.raises(IndexError):
            predictor.add_new_points_or_box(state, 6, 1, **CLICK)
        predictor.reset_state(state)
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        predictor.clear_all_prompts_in_frame(state, 0, 1)
        with pytest.raises(RuntimeError, match="provided for object id 1; please add"):
            predictor.propagate_in_video_preflight(state)


def test_coordinates_in_every_form(pair, folder):
    """Tensors, a first direction of one object, shares of the frame, corners as points."""
    box = [84.0, 46, 120, 82]
    answers = []
    for predictor in pair:
        state, shown = predictor.init_state(folder), []
        for prompt in (
            dict(points=torch.tensor([[[102.0, 64]]]), labels=torch.tensor([[1]])),
            dict(points=[[102 / 128, 0.5]], labels=[1], normalize_coords=False),
            dict(box=torch.tensor(box)),
            dict(box=np.array([box])),
            dict(points=[box[:2], box[2:]], labels=[2, 3]),
            dict(box=np.array(box) / 128, normalize_coords=False, points=[[0.7, 0.4]], labels=[0]),
        ):
            predictor.reset_state(state)
            shown.append(predictor.add_new_points_or_box(state, 0, 1, **prompt)[2])
        predictor.reset_state(state)
        mask = torch.zeros(128, 128, dtype=torch.bool)
        mask[40:80, 90:120] = True
        shown.append(predictor.add_new_mask(state, 0, 1, mask)[2])
        answers.append(shown)
    for a, b in zip(*answers, strict=True):
        same(a, b)
    assert (answers[1][0] > 0).any(), "vacuous"


def test_objects_that_join_inside_the_loop_are_not_yielded(pair, folder):
    for predictor in pair:
        state = predictor.init_state(folder)
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        seen = []
        for frame, ids, logits in predictor.propagate_in_video(state):
            if frame == 2:
                predictor.add_new_points_or_box(state, 2, 2, **OTHER)
            seen.append((frame, list(ids), len(logits)))
        assert seen == [(frame, [1], 1) for frame in range(6)]
        assert list(state["obj_ids"]) == [1, 2]


def test_settings(video_originals):
    weights = video_originals.folder("short memory")

    def build(*overrides, **more):
        names = [f"++model.{override}" for override in overrides]
        return build_sam2_video_predictor(
            CONFIG, weights, "cpu", hydra_overrides_extra=names, **more
        )

    plain = build()
    assert type(plain) is SAM2VideoPredictor and plain.fill_hole_area == 8
    assert plain.image_size == 128 and plain.device == torch.device("cpu")
    assert (plain.num_maskmem, plain.max_obj_ptrs_in_encoder) == (3, 4)
    assert plain.max_cond_frames_in_attn == 2 and not plain.non_overlap_masks
    other = build(
        "non_overlap_masks=true",
        "fill_hole_area=0",
        "num_maskmem=2",
        "image_size=64",
        "binarize_mask_from_pts_for_mem_enc=true",
        "sigmoid_scale_for_mem_enc=20.0",
        apply_postprocessing=False,
        vos_optimized=True,
    )
    assert type(other) is SAM2VideoPredictorVOS and other.image_size == 64
    assert other.non_overlap_masks and other.fill_hole_area == 0 and other.num_maskmem == 2
    assert build("fill_hole_area=20").fill_hole_area == 8  # post-processing has the last word
    assert not other.sam_mask_decoder.dynamic_multimask_via_stability
    with pytest.raises(NotImplementedError, match="sigmoid_bias_for_mem_enc=-10"):
        build("sigmoid_bias_for_mem_enc=-5")
    with pytest.raises(NotImplementedError, match="no switch"):
        build("no_such_setting=1")
    with pytest.raises(ValueError, match="num_maskmem=many"):
        build("num_maskmem=many")
    with pytest.raises(NotImplementedError, match="does not train"):
        build(mode="train")
    assert build().eval().to("cpu").num_maskmem == 3


def test_settings_take_effect(video_originals, folder):
    """Each setting that is changed on the predictor changes what the next state shows, and as in
    sam2. Two are not compared here: with fewer frames of memory, sam2 takes other rows of a table
    of positions than the model was trained with, and segrid keeps these; of two objects with nearly
    equal logits rounding decides which one gets a pixel (test_sam2_video.py has a scenario)."""
    predictor = build_sam2_video_predictor(CONFIG, video_originals.folder("sam2.1"), "cpu")
    original = sam2_predictor.load(video_originals.folder("sam2.1"))

    def last(one):
        state = one.init_state(folder)
        one.add_new_points_or_box(state, 0, 1, **CLICK)
        one.add_new_points_or_box(state, 0, 2, **OTHER)
        return [logits for _, _, logits in one.propagate_in_video(state)][-1]

    before = last(predictor)
    for name, value in (
        ("num_maskmem", 2),
        ("max_obj_ptrs_in_encoder", 2),
        ("fill_hole_area", 0),
        ("non_overlap_masks", True),
    ):
        kept = getattr(predictor, name)
        for one in (predictor, original):
            setattr(one, name, value)
        found = last(predictor)
        if name not in ("num_maskmem", "non_overlap_masks"):
            same(found, last(original))
        assert not torch.equal(found, before), name
        for one in (predictor, original):
            setattr(one, name, kept)


def test_an_original_checkpoint(tmp_path, folder):
    """A .pt file of sam2's, at a smaller side; and its weights put in later."""
    from sam2.build_sam import build_sam2_video_predictor as original

    torch.manual_seed(0)
    side = ["++model.image_size=128"]
    theirs = original(CONFIG, device="cpu", hydra_overrides_extra=side)
    torch.save({"model": theirs.state_dict()}, tmp_path / "sam2.pt")
    mine = build_sam2_video_predictor(
        CONFIG, str(tmp_path / "sam2.pt"), "cpu", hydra_overrides_extra=side
    )
    shown = []
    for predictor in (mine, theirs):
        state = predictor.init_state(folder)
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        shown.append([logits for *_, logits in predictor.propagate_in_video(state, None, 2)])
    for a, b in zip(*shown, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3 * b.abs().max().item(), rtol=0)
    assert shown[0][0].std() > 0, "vacuous"
    later = build_sam2_video_predictor(CONFIG, device="cpu", hydra_overrides_extra=side)
    with pytest.raises(RuntimeError, match="no weights yet"):
        later.init_state(folder)
    weights = torch.load(tmp_path / "sam2.pt", weights_only=True)["model"]
    assert not any(later.load_state_dict(weights)) and later.image_size == 128
    state = later.init_state(folder)
    later.add_new_points_or_box(state, 0, 1, **CLICK)
    again = [logits for *_, logits in later.propagate_in_video(state, None, 2)]
    assert all(torch.equal(a, b) for a, b in zip(again, shown[0], strict=True))
    lacking = {name: t for name, t in weights.items() if name != "maskmem_tpos_enc"}
    with pytest.raises(RuntimeError, match="memory_temporal_positional_encoding"):
        later.load_state_dict(lacking)
    assert any(name.startswith("memory_attention.") for name in later.state_dict())


def test_video_files(pair, tmp_path):
    """An .mp4 file and its bytes; sam2 needs decord for them, which has another resizing filter."""
    av = pytest.importorskip("av")
    from tests.video.clips import encode

    frames = blobs(6, 128, 128)
    encode(frames, str(tmp_path / "clip.mp4"))
    predictor = pair[0]
    for source in (str(tmp_path / "clip.mp4"), (tmp_path / "clip.mp4").read_bytes()):
        state = predictor.init_state(source)
        assert state["num_frames"] == 6
        with av.open(io.BytesIO((tmp_path / "clip.mp4").read_bytes())) as container:
            first = next(container.decode(video=0)).to_ndarray(format="rgb24")
        picture = state["images"][0] * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        picture += torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        assert np.abs(picture.permute(1, 2, 0).numpy() * 255 - first).mean() < 2
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        assert len(list(predictor.propagate_in_video(state))) == 6
