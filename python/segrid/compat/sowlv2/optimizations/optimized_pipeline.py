"""Turns prompts into binary masks and overlays on disk."""

from __future__ import annotations

import os

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
from segrid.compat.sowlv2.output_files import Outlined, OutputFiles, write_outputs
from segrid.compat.sowlv2.utils.frame_utils import image_names
from segrid.compat.sowlv2.utils.path_config import FilePattern
from segrid.compat.sowlv2.utils.pipeline_utils import (
    DEFAULT_PALETTE,
    Colour,
    get_prompt_color,
    prompt_list,
)
from segrid.compat.sowlv2.videos import process_video
from segrid.detector import check_number


class OptimizedSOWLv2Pipeline:
    """As the pipeline of sowlv2.optimizations, and as SOWLv2Pipeline. The models of the
    configuration may be segrid's own objects. Both models are loaded once, and each sees the image
    once for any number of prompts.

    use_temporal_detection : videos are detected in `temporal_detection_frames` frames, evenly
        spread, and not in the first one alone. A detection is a followed object if they have the
        same prompt and a mask IoU of at least `temporal_merge_threshold`; other detections are new
        objects, which are followed from there on
    """

    def __init__(
        self, config: PipelineBaseData | None = None, parallel_config: ParallelConfig | None = None
    ) -> None:
        self.config = config or PipelineBaseData()
        check_number("threshold", self.config.threshold)  # before models are loaded
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
        self.use_temporal_detection = False
        self.temporal_detection_frames = 5
        self.temporal_merge_threshold = 0.7

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
        pixels = read_image(image_path)
        results = self.detection_processor.detect_multiple_prompts_parallel(
            pixels, prompt_list(prompt), self.config.threshold
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
        found = self.segmentation_processor.segment_detections_parallel(pixels, detections)
        objects = (
            Outlined(i, d["core_prompt"], self._get_color_for_prompt(d["core_prompt"]), mask * 255)
            for i, (d, mask) in enumerate(found)
        )
        files = OutputFiles(self.config.pipeline_config, self.parallel_config, output_dir)
        write_outputs(files, pixels, objects, stem, number)

    def process_frames(
        self,
        folder_path: str | os.PathLike[str],
        prompt: str | list[str],
        output_dir: str | os.PathLike[str],
        *,
        follow: bool = False,
    ) -> None:
        """Calls `process_image` for each image of a folder. The outputs go into a folder with the
        image's (lower-case) name. For a folder without images it prints a line.

        follow : the images are the frames of one video, sorted by their numbers, and are processed
            as `process_video` does (this is segrid's own)
        """
        if follow:
            process_video(self, folder_path, prompt, output_dir)
            return
        files = image_names(folder_path)
        if not files:
            print(f"No valid image files found in {os.fspath(folder_path)}")
        for file in files:
            stem = os.path.splitext(file.lower())[0]
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

    def process_video(
        self,
        video_path: str | os.PathLike[str],
        prompt: str | list[str],
        output_dir: str | os.PathLike[str],
    ) -> None:
        """Detects in the first frame, or in several (`use_temporal_detection`), and follows what
        was found. Writes these files below output_dir when all frames are done.

        binary/frames/{n:06d}_obj{i}_{prompt}_mask.png,
        overlay/frames/{n:06d}_obj{i}_{prompt}_overlay.png : for each object, in each frame from
        that in which it joined; frames and objects are numbered from 1
        binary/merged/{n:06d}_merged_mask.png, overlay/merged/{n:06d}_merged_overlay.png : for all
        video/binary/obj{i}_{prompt}_mask.mp4, video/binary/merged_mask.mp4,
        video/overlay/obj{i}_{prompt}_overlay.mp4, video/overlay/merged_overlay.mp4 : the same as
        videos

        As in the original, the configuration leaves out the pictures below binary/ and overlay/,
        and the videos are made all the same; `merged` leaves out both.

        The videos show the pictures of this call alone; files of earlier calls stay, or are
        replaced where their names are equal. Colours begin anew with each video. Frames are taken
        at the configuration's `fps`, as the original does. If nothing is found, it prints a line
        and writes nothing. Raises the errors of reading and detecting, and NotImplementedError
        where the segmenter has no memory of video."""
        process_video(self, video_path, prompt, output_dir)

    def process_videos_batch(
        self, video_paths: list[str], prompt: str | list[str], output_dir: str | os.PathLike[str]
    ) -> None:
        """Calls `process_video` for each video; the outputs go into a folder with its name. A
        failure is printed, and the other videos are still processed."""
        for path in video_paths:
            name = os.path.splitext(os.path.basename(path))[0]
            try:
                self.process_video(path, prompt, os.path.join(output_dir, name))
            except (ValueError, OSError, NotImplementedError) as error:
                print(f"Error processing {path}: {error}")

    def _get_color_for_prompt(self, core_prompt: str) -> Colour:
        return get_prompt_color(
            core_prompt, self.prompt_color_map, DEFAULT_PALETTE, len(self.prompt_color_map)
        )[0]
