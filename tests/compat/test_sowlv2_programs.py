"""segrid.compat.sowlv2 for programs of June 2025: options of parallel work, the modules of `utils`,
the options of the command, batches."""

import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests import models

PROMPTS = ["red circle", "small blue star"]
LEAST = 0.03  # a threshold for the scores of these random weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with torch.no_grad():
        return models.owlv2.make("small", tmp_path_factory.mktemp("sowlv2"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    for i in (1, 2):
        noise = np.random.default_rng(i).integers(0, 255, (7, 9, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((133, 90), Image.BICUBIC).save(place / f"{i:06d}.png")
    return sorted(str(p) for p in place.iterdir())


@pytest.fixture
def pipeline(folder, tiny):
    from segrid.compat.sowlv2.data.config import PipelineBaseData, PipelineConfig
    from segrid.compat.sowlv2.optimizations import (
        GPUOptimizer,
        OptimizedSOWLv2Pipeline,
        ParallelConfig,
    )

    assert GPUOptimizer.profile_gpu_memory() == {} or torch.cuda.is_available()
    parallel = ParallelConfig(
        max_workers=2, detection_batch_size=8, segmentation_batch_size=2, io_batch_size=8
    )
    config = PipelineBaseData(
        owl_model=str(folder),
        sam_model=tiny,
        threshold=LEAST,
        fps=24,
        device="cpu",
        pipeline_config=PipelineConfig(binary=True, overlay=True, merged=True),
    )
    return OptimizedSOWLv2Pipeline(config, parallel)


def test_options_of_both_versions():
    from segrid.compat.sowlv2.optimizations.parallel_processor import (
        BatchDetectionResult,
        ParallelConfig,
        ParallelIOProcessor,
    )

    assert ParallelConfig(None, 4, 2, 8, True, True) == ParallelConfig(
        detection_batch_size=4,
        segmentation_batch_size=2,
        io_batch_size=8,
        enable_threading=True,
        thread_safety=True,
    )
    older = ParallelConfig(max_workers=4, batch_size=8, use_gpu_batching=True, thread_pool_size=3)
    assert older.io_threads == 3 and ParallelConfig(max_workers=5).io_threads == 5
    assert ParallelConfig(max_workers=5, enable_threading=False).io_threads == 1
    assert (
        ParallelIOProcessor(parallel_config=older).config
        is ParallelIOProcessor(config=older).config
        is older
    )
    empty = BatchDetectionResult()
    assert (empty.detections, empty.success_count, empty.error_count, empty.errors) == (
        [],
        0,
        0,
        [],
    )


def test_a_batch_of_images(pipeline, photos, tmp_path, capsys):
    pipeline.process_images_batch(
        [*photos, str(tmp_path / "missing.png")], PROMPTS, str(tmp_path / "out")
    )
    merged = sorted(p.name for p in (tmp_path / "out/binary/merged").iterdir())
    assert merged == ["000001_merged_mask.png", "000002_merged_mask.png"]
    assert "Error processing" in (said := capsys.readouterr().out) and "missing.png" in said
    pipeline.process_videos_batch(["a.mp4"], PROMPTS, str(tmp_path))
    assert "Error processing a.mp4" in capsys.readouterr().out


def test_frames_are_detected_and_segmented(pipeline, photos, capsys):
    from segrid.compat.sowlv2.optimizations import ParallelFrameProcessor

    frames = [Image.open(p).convert("RGB") for p in photos]
    processor = ParallelFrameProcessor(
        pipeline.detection_processor, pipeline.segmentation_processor, pipeline.parallel_config
    )
    results = processor.process_frames_parallel([*frames, "missing.png"], PROMPTS, LEAST)
    none, *rest = processor.process_frames_parallel([None, frames[1]], PROMPTS, LEAST)
    assert none["detections"] == [] and "got NoneType" in none["error"]  # cv2.imread's failure
    assert rest[0]["detections"] == results[1]["detections"]
    assert (
        [r["frame_idx"] for r in results] == [0, 1, 2]
        and results[2]["detections"] == []
        and "missing.png" in results[2]["error"]
    )
    for frame, result in zip(frames, results[:2], strict=True):
        alone = pipeline.detection_processor.detect_multiple_prompts_parallel(frame, PROMPTS, LEAST)
        assert [r.success_count for r in alone] == [len(r.detections) for r in alone] and sum(
            r.success_count for r in alone
        ) > 0
        assert result["detections"] == [d for r in alone for d in r.detections]
        for (detection, mask), (wanted, other) in zip(
            result["segmentations"],
            pipeline.segmentation_processor.segment_detections_parallel(
                frame, result["detections"]
            ),
            strict=True,
        ):
            assert (
                detection == wanted
                and np.array_equal(mask, other)
                and mask.shape == frame.size[::-1]
            )


def test_a_text_is_one_prompt(pipeline, photos):
    one = pipeline.detection_processor.detect_multiple_prompts_parallel(photos[0], "a star", LEAST)
    assert [r.prompt for r in one] == ["a star"] and one[0].detections
    frames = pipeline.frame_processor.process_frames_parallel(photos[:1], "a star", LEAST)
    assert frames[0]["detections"] == one[0].detections


def test_files_and_folders(tmp_path):
    from segrid.compat.sowlv2.utils.filesystem_utils import (
        create_output_directories,
        remove_empty_folders,
    )
    from segrid.compat.sowlv2.utils.path_config import (
        DirectoryStructure,
        FilePattern,
        FilePatternMatcher,
    )

    made = create_output_directories(str(tmp_path / "out"), include_video=True)
    assert made == DirectoryStructure.get_directory_map(str(tmp_path / "out"), include_video=True)
    assert {k: os.path.relpath(v, tmp_path / "out") for k, v in made.items()} == {
        "binary": "binary",
        "binary_frames": "binary/frames",
        "binary_merged": "binary/merged",
        "overlay": "overlay",
        "overlay_frames": "overlay/frames",
        "overlay_merged": "overlay/merged",
        "video": "video",
        "video_binary": "video/binary",
        "video_overlay": "video/overlay",
    }
    assert all(
        os.path.isdir(v) for v in made.values()
    ) and "video" not in create_output_directories(str(tmp_path / "two"))
    name = FilePattern.INDIVIDUAL_MASK.format(frame_num="000012", obj_id=3, prompt="red_circle")
    (tmp_path / "out/binary/frames" / name).write_text("x")
    remove_empty_folders(str(tmp_path / "out"))
    remove_empty_folders(str(tmp_path / "missing"))
    assert [os.path.relpath(p, tmp_path) for p, _, files in os.walk(tmp_path / "out") if files] == [
        "out/binary/frames"
    ]
    assert not (tmp_path / "out/overlay").exists() and not (tmp_path / "out/binary/merged").exists()
    import re

    assert re.match(FilePatternMatcher.get_individual_mask_pattern(), name).groups() == (
        "000012",
        "3",
        "red_circle",
    )
    assert sorted(["a10", "a9", "B1"], key=FilePatternMatcher.natural_sort_key) == [
        "a9",
        "a10",
        "B1",
    ]


def test_masks_and_overlays(tmp_path):
    from segrid.compat.sowlv2.data.config import PipelineConfig
    from segrid.compat.sowlv2.utils import pipeline_utils as utils

    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    mask, other = np.zeros((20, 30), bool), np.zeros((1, 20, 30), np.float32)
    mask[5:9, 5:9], other[0, 12:, 20:] = True, 1
    assert (
        utils.validate_mask(None) is None
        and set(np.unique(utils.validate_mask(other))) == {0, 255}
        and utils.validate_mask(other).shape == (20, 30)
    )
    over = np.array(utils.create_overlay(Image.fromarray(pixels), mask, (255, 0, 0)))
    np.testing.assert_array_equal(
        over[mask], (0.5 * pixels[mask] + 0.5 * np.array((255, 0, 0), np.uint8)).astype(np.uint8)
    )
    np.testing.assert_array_equal(over[~mask], pixels[~mask])
    for image in (
        Image.fromarray(pixels[..., 0]),
        Image.fromarray(np.dstack([pixels, pixels[..., 0]])),
    ):
        assert utils.create_overlay(image, mask, (0, 255, 0)).mode == "RGB"
    keep = PipelineConfig(True, True, True)
    utils.create_merged_binary_mask([mask, other], str(tmp_path / "b"), "000007", keep)
    utils.create_merged_overlay(
        Image.fromarray(pixels),
        [(mask, (255, 0, 0)), (other, (0, 0, 255))],
        str(tmp_path / "o"),
        "000007",
        keep,
    )
    np.testing.assert_array_equal(
        np.array(Image.open(tmp_path / "b/000007_merged_mask.png")) > 0, mask | (other[0] > 0)
    )
    assert (np.array(Image.open(tmp_path / "o/000007_merged_overlay.png")) != pixels).any(
        axis=2
    ).sum() > 90
    utils.create_merged_binary_mask(
        [mask], str(tmp_path / "none"), "1", PipelineConfig(True, False, True)
    )
    assert not (tmp_path / "none").exists()
    colours = {}
    assert utils.get_prompt_color("cat", colours, utils.DEFAULT_PALETTE, 0) == ((255, 0, 0), 1)
    assert utils.get_prompt_color("cat", colours, utils.DEFAULT_PALETTE, 1) == (
        (255, 0, 0),
        1,
    ) and colours == {"cat": (255, 0, 0)}


def test_endings_and_v_jepa(capsys):
    from segrid.compat.sowlv2.optimizations import VJepa2VideoOptimizer, create_vjepa2_optimizer
    from segrid.compat.sowlv2.utils.frame_utils import (
        VALID_EXTS,
        VALID_VIDEO_EXTS,
        is_valid_image_extension,
    )

    assert (
        is_valid_image_extension(".png")
        and not is_valid_image_extension(".mp4")
        and ".png" in VALID_EXTS
        and ".mp4" in VALID_VIDEO_EXTS
    )
    assert (
        create_vjepa2_optimizer(None, enable_vjepa2=True) is None
        and "not available" in capsys.readouterr().out
    )
    with pytest.raises(NotImplementedError, match="V-JEPA 2"):
        VJepa2VideoOptimizer(None)


def test_options_of_the_command(monkeypatch):
    from segrid.compat.sowlv2.cli import parse_args

    monkeypatch.setattr(
        sys,
        "argv",
        [
            "sowlv2-detect",
            "--prompt",
            "cat",
            "dog",
            "--input",
            "a.jpg",
            "--no-merged",
            "--max-workers",
            "3",
            "--batch-size",
            "2",
            "--enable-vjepa2",
            "--temporal-merge-threshold",
            "0.5",
        ],
    )
    args = parse_args()
    assert (
        args.prompt == ["cat", "dog"]
        and args.merged is False
        and args.binary is True
        and args.max_workers == 3
        and args.batch_size == 2
    )
    assert (
        args.enable_vjepa2
        and args.temporal_merge_threshold == 0.5
        and args.vjepa2_frames_per_clip == 16
        and not args.disable_gpu_batching
    )
    monkeypatch.setattr(sys, "argv", ["sowlv2-detect", "--input", "a.jpg"])
    with pytest.raises(SystemExit):
        parse_args()
