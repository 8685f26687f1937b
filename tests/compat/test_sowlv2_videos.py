"""segrid.compat.sowlv2 on videos: its tree of files, who is followed, and the calls of SAM2Wrapper,
whose results are those of sam2's own predictor."""

import numpy as np
import pytest
import segrid
import torch
from PIL import Image

from tests import models
from tests.video.clips import by_opencv, clip, drawn

SQUARE, GROUND = [6, 10, 40, 34], [50, 20, 90, 60]
FRAMES = 8


@pytest.fixture(scope="module")
def video_model(tmp_path_factory):
    return models.sam2.make_video("small", tmp_path_factory.mktemp("sowlv2-video"))


@pytest.fixture(scope="module")
def owl_model(tmp_path_factory):
    with torch.no_grad():
        return models.owlv2.make("small", tmp_path_factory.mktemp("sowlv2-owl"))


@pytest.fixture
def make(video_model, owl_model, monkeypatch):
    """Makes a pipeline whose detector gives the next of these lists of (box, prompt)."""
    from segrid.compat.sowlv2 import PipelineBaseData, PipelineConfig, SOWLv2Pipeline

    segmenter = segrid.Segmenter(video_model, precision="fp32")

    def made(*lists, fps=10, **flags):
        config = PipelineBaseData(
            str(owl_model), segmenter, fps=fps, pipeline_config=PipelineConfig(**flags)
        )
        pipeline, calls = SOWLv2Pipeline(config), []

        def detect(*, image, prompt, threshold):
            calls.append(image)
            found = lists[min(len(calls), len(lists)) - 1]
            return [{"box": box, "score": 0.5, "label": p, "core_prompt": p} for box, p in found]

        monkeypatch.setattr(pipeline.owl, "detect", detect)
        return pipeline, calls

    return made


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def tree(objects, frames):
    """objects : {"obj1_cat": the first frame, from 1}"""
    names, merged = [], range(min(objects.values()), frames + 1)
    for kind, ending in (("binary", "mask"), ("overlay", "overlay")):
        for name, first in objects.items():
            names += [
                f"{kind}/frames/{n:06d}_{name}_{ending}.png" for n in range(first, frames + 1)
            ]
            names.append(f"video/{kind}/{name}_{ending}.mp4")
        names += [f"{kind}/merged/{n:06d}_merged_{ending}.png" for n in merged]
        names.append(f"video/{kind}/merged_{ending}.mp4")
    return sorted(names)


def test_the_tree_of_a_video(make, tmp_path):
    path = clip(tmp_path / "clip.mp4", FRAMES)
    pipeline, calls = make([(SQUARE, "red square"), (GROUND, "ground")])
    out = tmp_path / "out"
    pipeline.process_video(str(path), ["red square", "ground"], str(out))
    assert files(out) == tree({"obj1_red_square": 1, "obj2_ground": 1}, FRAMES) and len(calls) == 1
    with pipeline.sam.tracker.open(path, long_side=None) as session:
        session.add(1, boxes=SQUARE)
        session.add(2, boxes=GROUND)
        wanted = [frame.masks.array for frame in session.propagate()]
        pictures = [session.picture(i) for i in range(FRAMES)]
    assert sum(m.any(axis=(1, 2)).sum() for m in wanted) > FRAMES, "vacuous"
    for n, (masks, pixels) in enumerate(zip(wanted, pictures, strict=True), 1):
        for i, name in ((0, "obj1_red_square"), (1, "obj2_ground")):
            mask = np.array(Image.open(out / f"binary/frames/{n:06d}_{name}_mask.png"))
            assert np.array_equal(mask, masks[i].astype(np.uint8) * 255)
        merged = np.array(Image.open(out / f"binary/merged/{n:06d}_merged_mask.png"))
        assert np.array_equal(merged > 0, masks.any(axis=0))
        over = np.array(Image.open(out / f"overlay/frames/{n:06d}_obj1_red_square_overlay.png"))
        assert np.array_equal(over[~masks[0]], pixels[~masks[0]])
        assert (over[masks[0]] != pixels[masks[0]]).any() or not masks[0].any()
    video = by_opencv(out / "video/binary/obj1_red_square_mask.mp4")
    assert len(video) == FRAMES
    assert np.abs(video[0][..., 0].astype(int) - wanted[0][0] * 255).mean() < 8


def test_flags_leave_pictures_out_and_the_videos_are_made_all_the_same(make, tmp_path):
    path = clip(tmp_path / "clip.mp4", 3)
    everything = tree({"obj1_cat": 1}, 3)
    for flags in (["binary"], ["overlay"], ["merged"], ["binary", "overlay"]):
        pipeline, _ = make([(SQUARE, "cat")], **dict.fromkeys(flags, False))
        out = tmp_path / "-".join(flags)
        pipeline.process_video(str(path), "cat", str(out))
        if flags == ["merged"]:
            assert files(out) == [f for f in everything if "merged" not in f]
        else:
            assert files(out) == [f for f in everything if not f.startswith(tuple(flags))]


def test_videos_show_this_run_alone(make, tmp_path):
    """Pictures of an earlier run, of another size and with more frames and objects, stay files."""
    out, wide = tmp_path / "out", tmp_path / "wide"
    wide.mkdir()
    for i in range(5):
        Image.fromarray(np.pad(drawn(i), ((0, 0), (0, 20), (0, 0)))).save(wide / f"{i}.png")
    pipeline, _ = make([(SQUARE, "cat"), (GROUND, "dog")])
    pipeline.process_frames(str(wide), ["cat", "dog"], str(out), follow=True)
    earlier = files(out)
    path = clip(tmp_path / "clip.mp4", 3)
    pipeline, _ = make([(SQUARE, "cat")])
    pipeline.process_video(str(path), "cat", str(out))
    assert files(out) == earlier and earlier == tree({"obj1_cat": 1, "obj2_dog": 1}, 5)
    for name in ("binary/obj1_cat_mask.mp4", "overlay/merged_overlay.mp4"):
        video = by_opencv(out / "video" / name)
        assert len(video) == 3 and video[0].shape == drawn(0).shape
    assert len(by_opencv(out / "video/binary/obj2_dog_mask.mp4")) == 5  # the earlier run's


def test_a_failed_run_leaves_the_folder_as_it_was(make, tmp_path, monkeypatch):
    from segrid.compat.sowlv2 import videos

    def full(*_, **__):
        raise OSError("no space left")

    path = clip(tmp_path / "clip.mp4", 2)
    pipeline, _ = make([(SQUARE, "cat")])
    monkeypatch.setattr(videos, "generate_videos", full)
    with pytest.raises(OSError, match="no space left"):
        pipeline.process_video(str(path), "cat", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_each_video_begins_with_the_first_colour(make, tmp_path):
    path = clip(tmp_path / "clip.mp4", 2)
    pipeline, _ = make([(SQUARE, "cat")], [(SQUARE, "dog")])
    pictures = []
    for prompt in ("cat", "dog"):
        pipeline.process_video(str(path), prompt, str(tmp_path / prompt))
        name = f"000001_obj1_{prompt}_overlay.png"
        pictures.append(np.array(Image.open(tmp_path / prompt / "overlay/frames" / name)))
    assert np.array_equal(*pictures) and pipeline.prompt_color_map == {}


def test_objects_join_at_later_detections(make, tmp_path, capsys):
    path = clip(tmp_path / "clip.mp4", FRAMES)
    pipeline, calls = make([], [(SQUARE, "cat")], [(GROUND, "dog")], [])
    pipeline.process_video(str(path), ["cat", "dog"], str(tmp_path / "none"))
    assert not (tmp_path / "none").exists() and len(calls) == 1
    assert "No objects detected for prompt(s) '['cat', 'dog']'" in capsys.readouterr().out
    pipeline.use_temporal_detection, pipeline.temporal_detection_frames = True, 4
    pipeline.process_video(str(path), ["cat", "dog"], str(tmp_path / "out"))
    assert len(calls) == 5  # frames 0, 2, 4 and 6
    assert files(tmp_path / "out") == tree({"obj1_cat": 1, "obj2_dog": 3}, FRAMES)


def test_frames_of_a_folder_and_another_rate(make, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(drawn(i)).save(folder / f"{i}.png")
    pipeline, calls = make([(SQUARE, "cat")])
    pipeline.process_frames(str(folder), "cat", str(tmp_path / "out"), follow=True)
    assert files(tmp_path / "out") == tree({"obj1_cat": 1}, 4) and len(calls) == 1
    path = clip(tmp_path / "clip.mp4", FRAMES)  # 10 frames in a second
    pipeline, _ = make([(SQUARE, "cat")], fps=0)
    with pytest.raises(ValueError, match="fps: must be at least 1 frame per second, got 0"):
        pipeline.process_video(str(path), "cat", str(tmp_path / "none"))
    pipeline, _ = make([(SQUARE, "cat")], fps=5)
    pipeline.process_video(str(path), "cat", str(tmp_path / "slow"))
    assert files(tmp_path / "slow") == tree({"obj1_cat": 1}, 4)
    overlay = np.array(Image.open(tmp_path / "slow/overlay/frames/000002_obj1_cat_overlay.png"))
    mask = np.array(Image.open(tmp_path / "slow/binary/frames/000002_obj1_cat_mask.png")) > 0
    assert np.array_equal(overlay[~mask], by_opencv(path)[2][~mask])


def test_the_calls_of_the_wrapper_give_what_sam2_gives(tmp_path, monkeypatch):
    from segrid.compat.sowlv2.models import SAM2Wrapper

    from tests.models import sam2_predictor
    from tests.tracking.clip import blobs
    from tests.tracking.steps import Scenario
    from tests.tracking.with_sam2 import opened

    frames = blobs(6, *Scenario("", ()).size)
    box = np.array([30, 72, 60, 110], np.float32)
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:05d}.jpg", quality=95)
    video_model = models.sam2.make_video("clip", tmp_path / "model")
    sam = SAM2Wrapper(segrid.Segmenter(video_model, precision="fp32"))
    original = sam2_predictor.load(video_model)
    sam2_predictor.fills_holes(monkeypatch.setattr)
    # sam2's reader resizes files in another way.
    state = sam.tracker.open(frames)
    theirs = opened(original, frames)
    assert sam.init_state(str(folder)).count == 6
    frame, ids, logits = sam.add_new_box(state, 0, box, 1)
    wanted = original.add_new_points_or_box(theirs, 0, 1, box=box)
    assert (frame, list(ids)) == (wanted[0], list(wanted[1]))
    compared = 0
    for (i, _, a), (j, _, b) in zip(
        [(frame, ids, logits), *sam.propagate_in_video(state)],
        [wanted, *original.propagate_in_video(theirs)],
        strict=True,
    ):
        assert i == j and a.shape == b.shape and a.dtype == b.dtype
        assert ((a > 0) != (b > 0)).float().mean() < 2e-3
        compared += int((b > 0).any() and not (b > 0).all())
    assert compared > 2, "vacuous"


def test_the_command_takes_videos(video_model, owl_model, tmp_path):
    from segrid.compat.sowlv2.cli import main
    from segrid.compat.sowlv2.models import OWLV2Wrapper

    path = clip(tmp_path / "clip.mp4", 3)
    found = OWLV2Wrapper(str(owl_model)).detect(
        image=by_opencv(path)[0], prompt=["cat"], threshold=0.0
    )
    second = sorted(d["score"] for d in found)[-3]
    words = ["--prompt", "cat", "--input", str(path), "--output", str(tmp_path / "out")]
    words += ["--owl-model", str(owl_model), "--sam-model", str(video_model), "--fps", "10"]
    assert main([*words, "--threshold", str(second), "--no-overlay"]) == 0
    names = {f.split("_")[1] for f in files(tmp_path / "out/binary/frames")}
    assert 1 <= len(names) <= 3
    assert (tmp_path / "out/video/binary/merged_mask.mp4").exists()
    assert not (tmp_path / "out/overlay").exists()
    for file in (tmp_path / "out/video").rglob("*.mp4"):
        file.unlink()
    flags = ["--threshold", str(second), "--no-overlay", "--no-binary", "--no-merged"]
    assert main([*words, *flags]) == 0
    assert {f.split("/")[0] for f in files(tmp_path / "out/video")} == {"binary", "overlay"}


def test_the_command_names_a_folder_without_images(owl_model, video_model, tmp_path, capsys):
    from segrid.compat.sowlv2.cli import main

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("x")
    words = ["--prompt", "cat", "--input", str(tmp_path / "empty"), "--output", str(tmp_path / "o")]
    words += ["--owl-model", str(owl_model), "--sam-model", str(video_model)]
    for more in ([], ["--follow-frames"]):
        assert main([*words, *more]) == 1
        assert "no images in this folder" in capsys.readouterr().err
