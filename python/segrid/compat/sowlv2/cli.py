"""The command `sowlv2-detect`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options as the original's; values of a --config file stand where the command line says nothing."""
    parser = argparse.ArgumentParser("sowlv2-detect", description="Detect and segment objects in images or folders of frames with text prompts.")
    parser.add_argument("--prompt", nargs="+", help="what to look for: cat, or cat dog 'a red bicycle'")
    parser.add_argument("--input", help="image file or folder of frames")
    parser.add_argument("--output", default="output", help="folder for masks and overlays")
    parser.add_argument("--owl-model", default="google/owlv2-base-patch16-ensemble", help="detector: Hugging Face id, folder or packaged name (tiny-detector)")
    parser.add_argument("--sam-model", default="facebook/sam2.1-hiera-small", help="segmenter: Hugging Face id, folder or packaged name (tiny)")
    parser.add_argument("--threshold", type=float, default=0.1, help="scores are above it")
    parser.add_argument("--fps", type=int, default=24, help="of videos")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; where there is no CUDA device, that is reported and the CPU runs")
    parser.add_argument("--no-merged", dest="merged", action="store_false", help="no outputs over all objects")
    parser.add_argument("--no-binary", dest="binary", action="store_false", help="no binary masks")
    parser.add_argument("--no-overlay", dest="overlay", action="store_false", help="no overlays")
    parser.add_argument("--config", help="YAML file with values of these options")
    args = parser.parse_args(arguments)
    if args.config:
        try:
            settings = _settings(args.config)
        except (OSError, ValueError, ImportError) as error:
            parser.error(f"--config {args.config}: {error}")
        for key, value in settings.items():
            name = key.replace("-", "_")
            if not hasattr(args, name):
                parser.error(f"--config {args.config}: unknown option {key!r}")
            if getattr(args, name) == parser.get_default(name):
                kind = type(parser.get_default(name)) if parser.get_default(name) is not None else str
                value = [value] if name == "prompt" and isinstance(value, str) else value
                good = isinstance(value, list) and all(isinstance(v, str) for v in value) if name == "prompt" else \
                    isinstance(value, kind) or (kind is float and isinstance(value, int) and not isinstance(value, bool))
                if not good:
                    parser.error(f"--config {args.config}: {key} must be {'a text or a list of texts' if name == 'prompt' else kind.__name__}, got {value!r}")
                setattr(args, name, value)
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


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 0, or 1 where the input is missing or of another kind, or a model or an image cannot be read."""
    args = parse(arguments)
    from segrid.compat.sowlv2 import OptimizedSOWLv2Pipeline, PipelineBaseData, PipelineConfig

    prompt = args.prompt[0] if len(args.prompt) == 1 else args.prompt
    ending = os.path.splitext(args.input)[1].lower()
    if not os.path.exists(args.input):
        print(f"Input path not found: {args.input}", file=sys.stderr)
        return 1
    try:
        pipeline = OptimizedSOWLv2Pipeline(PipelineBaseData(args.owl_model, args.sam_model, args.threshold, args.fps, args.device,
                                                            PipelineConfig(args.merged, args.binary, args.overlay)))
        print(f"Processing with prompt(s): {prompt}")
        if os.path.isdir(args.input):
            pipeline.process_frames(args.input, prompt, args.output)
        elif ending in VIDEOS:
            pipeline.process_video(args.input, prompt, args.output)
        else:
            pipeline.process_image(args.input, prompt, args.output)
    except (ValueError, OSError, NotImplementedError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
