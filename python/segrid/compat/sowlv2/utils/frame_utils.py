"""Recognises image and video files, and writes the frames of videos."""

from __future__ import annotations

import os

import numpy as np

from segrid.compat.sowlv2.data.config import PipelineConfig, PropagatedFrameOutput
from segrid.compat.sowlv2.utils.path_config import FilePattern
from segrid.compat.sowlv2.utils.pipeline_utils import Colour

VALID_EXTS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
VALID_VIDEO_EXTS = {".mp4", ".avi", ".mov", ".mkv", ".webm"}


def is_valid_image_extension(ext: str) -> bool:
    """Whether a lower-case ending with its dot (".png") belongs to an image."""
    return ext in VALID_EXTS


def image_names(folder: str | os.PathLike[str]) -> list[str]:
    """Returns the sorted names of the images in a folder, by their endings."""
    return sorted(
        name
        for name in os.listdir(folder)
        if is_valid_image_extension(os.path.splitext(name.lower())[1])
    )


def process_propagated_frame(
    frame_output_data: PropagatedFrameOutput,
    pipeline_config: PipelineConfig,
    prompt_color_map: dict[str, Colour],
    next_color_idx: int = 0,
) -> tuple[dict[str, Colour], int]:
    """Writes the masks and overlays of one frame, as the pipeline's `process_video` describes.

    Returns the last two arguments, the first one copied. Prints a line for an object without
    details."""
    from segrid.compat.sowlv2.optimizations.parallel_processor import ParallelConfig
    from segrid.compat.sowlv2.output_files import Outlined, OutputFiles, write_outputs

    frame = frame_output_data
    details = {int(one["sam_id"]): one for one in frame.detection_details_map}
    objects = []
    for number, logits in zip(frame.sam_obj_ids_tensor, frame.mask_logits_tensor, strict=True):
        if (one := details.get(int(number))) is None:
            print(f"Warning: No detection details found for SAM object ID {number}")
            continue
        mask = (np.asarray(logits).squeeze() > 0).astype(np.uint8) * 255
        objects.append(Outlined(int(number), one["core_prompt"], one["color"], mask))
    if objects:
        files = OutputFiles(pipeline_config, ParallelConfig(), frame.output_dir)
        number = FilePattern.FRAME_NUM_FORMAT.format(frame.frame_num)
        write_outputs(
            files, np.asarray(frame.current_pil_img.convert("RGB")), objects, number, number
        )
    return dict(prompt_color_map), next_color_idx
