"""Prompts to binary masks and overlays on disk."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from segrid._image import read_image
from segrid.compat.sowlv2.data.config import PipelineBaseData
from segrid.compat.sowlv2.models import OWLV2Wrapper, SAM2Wrapper
from segrid.compat.sowlv2.optimizations.parallel_processor import (
    ParallelConfig,
    ParallelDetectionProcessor,
    ParallelFrameProcessor,
    ParallelIOProcessor,
    ParallelSegmentationProcessor,
)

# The original's colours, which prompts get in the order in which they are first found.
PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (128, 0, 0), (0, 128, 0), (0, 0, 128), (128, 128, 0),
           (0, 128, 128), (128, 0, 128), (255, 128, 0), (255, 0, 128), (0, 255, 128), (128, 255, 0), (0, 128, 255), (128, 0, 255), (192, 192, 192),
           (255, 215, 0), (138, 43, 226), (75, 0, 130), (240, 128, 128), (32, 178, 170)]
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class OptimizedSOWLv2Pipeline:
    """As sowlv2.optimizations' pipeline (and as SOWLv2Pipeline); models of the configuration may be segrid's own objects. Both are loaded once and the
    image passes through each once, whatever the number of prompts."""

    def __init__(self, config: PipelineBaseData | None = None, parallel_config: ParallelConfig | None = None) -> None:
        self.config = config or PipelineBaseData()
        self.parallel_config = parallel_config or ParallelConfig()
        self.owl = OWLV2Wrapper(self.config.owl_model, self.config.device)
        self.sam = SAM2Wrapper(self.config.sam_model, self.config.device)
        self.detection_processor = ParallelDetectionProcessor(self.owl, self.sam, self.parallel_config)
        self.segmentation_processor = ParallelSegmentationProcessor(self.sam, self.parallel_config)
        self.frame_processor = ParallelFrameProcessor(self.parallel_config)
        self.io_processor = ParallelIOProcessor(self.parallel_config)
        self.prompt_color_map: dict[str, tuple[int, int, int]] = {}

    def process_image(self, image_path: str | os.PathLike[str], prompt: str | list[str], output_dir: str | os.PathLike[str]) -> None:
        """Writes, below output_dir,

        binary/frames/{name}_obj{i}_{prompt}_mask.png, overlay/frames/{name}_obj{i}_{prompt}_overlay.png : of each object; spaces become underscores
        binary/merged/{number:06d}_merged_mask.png, overlay/merged/{number:06d}_merged_overlay.png : of all; number is the image's name where that is one, else 0

        less what the configuration leaves out. Nothing, and a line on the terminal, where nothing was found. Raises what reading and detecting raise.
        """
        from PIL import Image

        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        pixels = read_image(image_path)
        results = self.detection_processor.detect_multiple_prompts_parallel(pixels, prompts, self.config.threshold)
        detections = [d for result in results for d in result.detections]
        if not detections:
            print(f"No objects detected for prompt(s) '{prompt}' in image '{os.fspath(image_path)}'.")
            return
        name = os.path.splitext(os.path.basename(os.fspath(image_path)))[0]
        number, stem, keep = int(name) if name.isdecimal() else 0, name.replace(" ", "_"), self.config.pipeline_config
        files: list[tuple[str, Any]] = []

        def save(kind: str, folder: str, file: str, array: np.ndarray) -> None:
            if getattr(keep, kind) and (folder != "merged" or keep.merged):
                files.append((os.path.join(output_dir, kind, folder, file), Image.fromarray(array)))
            if len(files) >= 2 * self.parallel_config.thread_pool_size:  # not all objects' pictures at once
                self.io_processor.save_outputs_parallel(files)
                files.clear()

        merged_mask, merged_overlay = np.zeros(pixels.shape[:2], np.uint8), pixels
        for i, (detection, mask) in enumerate(self.segmentation_processor.segment_detections_parallel(pixels, detections)):
            colour = self._get_color_for_prompt(detection["core_prompt"])
            file = f"{stem}_obj{i}_{slug(detection['core_prompt'])}"
            save("binary", "frames", f"{file}_mask.png", mask)
            save("overlay", "frames", f"{file}_overlay.png", blended(pixels, mask, colour))
            merged_mask |= mask
            merged_overlay = blended(merged_overlay, mask, colour)
        save("binary", "merged", f"{number:06d}_merged_mask.png", merged_mask)
        save("overlay", "merged", f"{number:06d}_merged_overlay.png", merged_overlay)
        self.io_processor.save_outputs_parallel(files)

    def process_frames(self, folder_path: str | os.PathLike[str], prompt: str | list[str], output_dir: str | os.PathLike[str]) -> None:
        """`process_image` for each image of a folder, into a folder of its (lower-case) name."""
        for file in sorted(os.listdir(folder_path)):
            stem, ending = os.path.splitext(file.lower())
            if ending in IMAGES:
                self.process_image(os.path.join(folder_path, file), prompt, os.path.join(output_dir, stem))

    def process_video(self, video_path: str, prompt: str | list[str], output_dir: str) -> None:
        """Not in this version: following objects through a video comes with segrid's tracker. Raises NotImplementedError, before anything is written."""
        raise NotImplementedError("process_video: segrid follows no objects through videos yet; extract the frames (ffmpeg -i VIDEO frames/%06d.jpg) and use "
                                  "process_frames, which detects in every frame")

    def _get_color_for_prompt(self, core_prompt: str) -> tuple[int, int, int]:
        return self.prompt_color_map.setdefault(core_prompt, PALETTE[len(self.prompt_color_map) % len(PALETTE)])


def slug(prompt: str) -> str:
    """A prompt as part of a file's name: spaces become underscores, as in the original; so do characters that no name may hold."""
    return "".join("_" if c in ' /\\\0' else c for c in prompt)[:100]


def blended(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A copy with half of the colour where the mask is."""
    out, inside = pixels.copy(), mask > 0
    out[inside] = (0.5 * out[inside] + 0.5 * np.array(colour, np.uint8)).astype(np.uint8)
    return out
