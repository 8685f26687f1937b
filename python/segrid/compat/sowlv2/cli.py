"""The command `sowlv2-detect`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from segrid.compat.sowlv2.utils.frame_utils import VALID_EXTS, VALID_VIDEO_EXTS, image_names

OPTIONS: dict[str, dict[str, Any]] = {
    "--input": {"help": "image file, video file, or folder of frames"},
    "--output": {"default": "output", "help": "folder for masks and overlays"},
    "--owl-model": {
        "default": "google/owlv2-base-patch16-ensemble",
        "help": "detector: Hugging Face id, folder or packaged name (tiny-detector)",
    },
    "--sam-model": {
        "default": "facebook/sam2.1-hiera-small",
        "help": "segmenter: Hugging Face id, folder or packaged name (tiny)",
    },
    "--threshold": {"type": float, "default": 0.1, "help": "detections have scores above it"},
    "--fps": {"type": int, "default": 24, "help": "frames per second of videos"},
    "--device": {
        "default": "cpu",
        "help": "cpu or cuda; without a CUDA device, a warning says so and the CPU is used",
    },
    "--no-merged": {
        "dest": "merged",
        "action": "store_false",
        "help": "do not write outputs that combine all objects",
    },
    "--no-binary": {
        "dest": "binary",
        "action": "store_false",
        "help": "no pictures of binary masks (of a video, the mask videos are still made)",
    },
    "--no-overlay": {
        "dest": "overlay",
        "action": "store_false",
        "help": "no pictures of overlays (of a video, the overlay videos are still made)",
    },
    "--config": {"help": "YAML file with values of these options"},
    "--max-workers": {"type": int, "help": "threads that write files"},
    "--batch-size": {
        "type": int,
        "default": 4,
        "help": "accepted without effect: the engine chooses its batch sizes itself",
    },
    "--disable-gpu-batching": {"action": "store_true", "help": "accepted without effect"},
    "--enable-vjepa2": {"action": "store_true", "help": "accepted; segrid has no V-JEPA 2"},
    "--vjepa2-frames-per-clip": {"type": int, "default": 16, "help": "accepted without effect"},
    "--temporal-detection-frames": {
        "type": int,
        "default": 5,
        "help": "frames in which --use-temporal-detection detects, evenly spread",
    },
    "--temporal-merge-threshold": {
        "type": float,
        "default": 0.7,
        "help": "mask IoU from which a detection is an object that is followed already",
    },
    "--use-temporal-detection": {
        "action": "store_true",
        "help": "detect in several frames of a video, and not in the first one alone",
    },
    "--follow-frames": {
        "action": "store_true",
        "help": "the images of an --input folder are the frames of one video (segrid's own option)",
    },
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the original's options, from the command line if `arguments` is None. Values of a
    --config file replace the defaults of options that the command line does not give.

    Ends the program with a message (exit status 2) for options that do not fit."""
    parser = argparse.ArgumentParser(
        "sowlv2-detect",
        description="Detect and segment objects in images, videos or folders of frames with text "
        "prompts.",
    )
    parser.add_argument(
        "--prompt", nargs="+", help="objects to look for: cat, or cat dog 'a red bicycle'"
    )
    for name, how in OPTIONS.items():
        parser.add_argument(name, **how)
    args = parser.parse_args(arguments)
    if args.config:
        try:
            _fill(args, parser, _settings(args.config))
        except (OSError, ValueError, ImportError) as error:
            parser.error(f"--config {args.config}: {error}")
    if not args.prompt or not args.input:
        parser.error("--prompt and --input are required, here or in the --config file")
    return args


def _settings(path: str) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    with open(path, encoding="utf-8") as file:
        try:
            settings = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError("must hold options and their values")
    return settings


def _fill(
    args: argparse.Namespace, parser: argparse.ArgumentParser, settings: dict[str, Any]
) -> None:
    """Fills in the file's values for options that have their default on the command line."""
    for key, value in settings.items():
        name = key.replace("-", "_")
        if not hasattr(args, name):
            raise ValueError(f"unknown option {key!r}")
        default = parser.get_default(name)
        if getattr(args, name) == default:
            wanted = _kind(name, default)
            value = [value] if name == "prompt" and isinstance(value, str) else value
            if name == "prompt":
                good = isinstance(value, list) and all(isinstance(v, str) for v in value)
            else:
                whole_number = isinstance(value, int) and not isinstance(value, bool)
                good = isinstance(value, wanted) or (wanted is float and whole_number)
            if not good:
                what = "a text or a list of texts" if name == "prompt" else wanted.__name__
                raise ValueError(f"{key} must be {what}, got {value!r}")
            setattr(args, name, value)


def _kind(name: str, default: Any) -> type:
    if default is not None:
        return type(default)
    kind: type = OPTIONS.get(f"--{name.replace('_', '-')}", {}).get("type", str)
    return kind


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns 0, or 1 if the input is missing, of another kind or a folder
    without images, or if a model or an image cannot be read."""
    args = parse_args(arguments)
    from segrid.compat.sowlv2 import OptimizedSOWLv2Pipeline, PipelineBaseData, PipelineConfig
    from segrid.compat.sowlv2.optimizations.parallel_processor import ParallelConfig
    from segrid.compat.sowlv2.optimizations.vjepa2_optimization import create_vjepa2_optimizer

    prompt = args.prompt[0] if len(args.prompt) == 1 else args.prompt
    ending = os.path.splitext(args.input)[1].lower()
    if not os.path.exists(args.input):
        print(f"Input path not found: {args.input}", file=sys.stderr)
        return 1
    if os.path.isdir(args.input) and not image_names(args.input):
        endings = ", ".join(sorted(VALID_EXTS))
        print(f"{args.input}: no images in this folder ({endings})", file=sys.stderr)
        return 1
    try:
        pipeline = OptimizedSOWLv2Pipeline(
            PipelineBaseData(
                args.owl_model,
                args.sam_model,
                args.threshold,
                args.fps,
                args.device,
                PipelineConfig(args.merged, args.binary, args.overlay),
            ),
            ParallelConfig(max_workers=args.max_workers),
        )
        pipeline.use_temporal_detection = args.use_temporal_detection
        pipeline.temporal_detection_frames = args.temporal_detection_frames
        pipeline.temporal_merge_threshold = args.temporal_merge_threshold
        if args.enable_vjepa2:
            create_vjepa2_optimizer(pipeline.config)
        print(f"Processing with prompt(s): {prompt}")
        if os.path.isdir(args.input):
            pipeline.process_frames(args.input, prompt, args.output, follow=args.follow_frames)
        elif ending in VALID_VIDEO_EXTS:
            pipeline.process_video(args.input, prompt, args.output)
        else:
            pipeline.process_image(args.input, prompt, args.output)
    except (ValueError, OSError, NotImplementedError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
