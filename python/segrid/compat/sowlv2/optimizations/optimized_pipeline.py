"""Turns prompts into binary masks and overlays on disk."""

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
from segrid.compat.sowlv2.utils.frame_utils import is_valid_image_extension
from segrid.compat.sowlv2.utils.path_config import DirectoryStructure, FilePattern
from segrid.compat.sowlv2.utils.pipeline_utils import (
    DEFAULT_PALETTE,
    Colour,
    blended,
    get_prompt_color,
)
from segrid.compat.video import not_yet


class OptimizedSOWLv2Pipeline:
    """As the pipeline of sowlv2.optimizations, and as SOWLv2Pipeline. The models of the
    configuration may be segrid's own objects. Both models are loaded once, and each sees the image
    once for any number of prompts."""

    def __init__(
        self, config: PipelineBaseData | None = None, parallel_config: ParallelConfig | None = None
    ) -> None:
        self.config = config or PipelineBaseData()
        self.parallel_config = parallel_config or ParallelConfig()
        self.owl = OWLV2Wrapper(self.config.owl_model, self.config.device)
        self.sam = SAM2Wrapper(self.config.sam_model, self.config.device)
        self.detection_processor = ParallelDetectionProcessor(
            self.owl, self.sam, self.parallel_config
        )
        self.segmentation_processor = ParallelSegmentationProcessor(self.sam, self.parallel_config)
        self.frame_processor = ParallelFrameProcessor(
            self.detection_processor, self.segmentation_processor, self.parallel_config
        )
        self.io_processor = ParallelIOProcessor(self.parallel_config)
        self.prompt_color_map: dict[str, Colour] = {}

    def process_image(
        self,
        image_path: str | os.PathLike[str],
        prompt: str | list[str],
        output_dir: str | os.PathLike[str],
    ) -> None:
        """Writes these files below output_dir, except those that the configuration leaves out.

        binary/frames/{name}_obj{i}_{prompt}_mask.png,
        overlay/frames/{name}_obj{i}_{prompt}_overlay.png : for each object; spaces become
        underscores
        binary/merged/{number:06d}_merged_mask.png, overlay/merged/{number:06d}_merged_overlay.png :
        for all objects; number is the image's name if that is a number, else 0

        If no object is found, it prints a line and writes nothing. Raises the errors of reading and
        detecting."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        pixels = read_image(image_path)
        results = self.detection_processor.detect_multiple_prompts_parallel(
            pixels, prompts, self.config.threshold
        )
        detections = [d for result in results for d in result.detections]
        if not detections:
            print(
                f"No objects detected for prompt(s) '{prompt}' in image '{os.fspath(image_path)}'."
            )
            return
        name = os.path.splitext(os.path.basename(os.fspath(image_path)))[0]
        stem = name.replace(" ", "_")
        number = FilePattern.FRAME_NUM_FORMAT.format(int(name) if name.isdecimal() else 0)
        files = _Files(self, output_dir)
        merged_mask, merged_overlay = np.zeros(pixels.shape[:2], np.uint8), pixels
        for i, (detection, mask) in enumerate(
            self.segmentation_processor.segment_detections_parallel(pixels, detections)
        ):
            colour = self._get_color_for_prompt(detection["core_prompt"])
            names = {"frame_num": stem, "obj_id": i, "prompt": slug(detection["core_prompt"])}
            files.add("binary", "frames", FilePattern.INDIVIDUAL_MASK.format(**names), mask)
            files.add(
                "overlay",
                "frames",
                FilePattern.INDIVIDUAL_OVERLAY.format(**names),
                blended(pixels, mask, colour),
            )
            merged_mask |= mask
            merged_overlay = blended(merged_overlay, mask, colour)
        files.add("binary", "merged", FilePattern.MERGED_MASK.format(frame_num=number), merged_mask)
        files.add(
            "overlay", "merged", FilePattern.MERGED_OVERLAY.format(frame_num=number), merged_overlay
        )
        files.write()

    def process_frames(
        self,
        folder_path: str | os.PathLike[str],
        prompt: str | list[str],
        output_dir: str | os.PathLike[str],
    ) -> None:
        """Calls `process_image` for each image of a folder. The outputs go into a folder with the
        image's (lower-case) name."""
        for file in sorted(os.listdir(folder_path)):
            stem, ending = os.path.splitext(file.lower())
            if is_valid_image_extension(ending):
                self.process_image(
                    os.path.join(folder_path, file), prompt, os.path.join(output_dir, stem)
                )

    def process_images_batch(
        self, image_paths: list[str], prompt: str | list[str], output_dir: str | os.PathLike[str]
    ) -> None:
        """Calls `process_image` for each image. A failure is printed, and the other images are
        still processed."""
        for path in image_paths:
            try:
                self.process_image(path, prompt, output_dir)
            except (ValueError, OSError, NotImplementedError) as error:
                print(f"Error processing {path}: {error}")

    def process_video(self, video_path: str, prompt: str | list[str], output_dir: str) -> None:
        """Raises NotImplementedError before anything is written, because following objects through
        a video needs segrid's tracker, which does not exist yet."""
        not_yet(
            "process_video",
            "extract the frames (ffmpeg -i VIDEO frames/%06d.jpg) and use "
            "process_frames, which detects in every frame",
        )

    def process_videos_batch(
        self, video_paths: list[str], prompt: str | list[str], output_dir: str
    ) -> None:
        """Raises NotImplementedError, as `process_video` does."""
        self.process_video(", ".join(video_paths), prompt, output_dir)

    def _get_color_for_prompt(self, core_prompt: str) -> Colour:
        return get_prompt_color(
            core_prompt, self.prompt_color_map, DEFAULT_PALETTE, len(self.prompt_color_map)
        )[0]


class _Files:
    """The pictures of one image. They are written a few at a time, so that not all are held at
    once."""

    def __init__(
        self, pipeline: OptimizedSOWLv2Pipeline, output_dir: str | os.PathLike[str]
    ) -> None:
        self._wanted = pipeline.config.pipeline_config
        self._processor = pipeline.io_processor
        self._most = 2 * pipeline.parallel_config.io_threads
        self._folders = DirectoryStructure.get_directory_map(os.fspath(output_dir))
        self._tasks: list[tuple[str, Any]] = []

    def add(self, kind: str, folder: str, name: str, array: np.ndarray) -> None:
        """Adds a picture, unless the configuration leaves out `kind` ("binary", "overlay") or
        "merged"."""
        from PIL import Image

        if getattr(self._wanted, kind) and (folder != "merged" or self._wanted.merged):
            self._tasks.append(
                (os.path.join(self._folders[f"{kind}_{folder}"], name), Image.fromarray(array))
            )
        if len(self._tasks) >= self._most:
            self.write()

    def write(self) -> None:
        self._processor.save_outputs_parallel(self._tasks)
        self._tasks.clear()


def slug(prompt: str) -> str:
    """Returns a prompt as part of a file's name. Spaces become underscores, as in the original, and
    so do characters that no name may contain."""
    return "".join("_" if c in " /\\\0" else c for c in prompt)[:100]
