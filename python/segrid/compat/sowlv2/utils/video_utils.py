"""Videos of masks and overlays."""

from __future__ import annotations

import os
import re

from segrid._image import read_image
from segrid.compat.sowlv2.utils.path_config import (
    DirectoryStructure,
    FilePattern,
    FilePatternMatcher,
)
from segrid.video.picture_video import PictureVideo


def images_to_video(image_paths: list[str], output_path: str, fps: int) -> None:
    """Writes images of one size as an H.264 video (the original writes MPEG-4). Without images it
    prints a line. Raises what reading an image and writing the file raise."""
    if not image_paths:
        print(f"No images found for video generation: {output_path}")
        return
    with PictureVideo(output_path, rate=fps) as video:
        for path in image_paths:
            video.append(read_image(path))


def generate_videos(
    temp_dir: str, fps: int, binary: bool = True, overlay: bool = True, merged: bool = True
) -> None:
    """Makes the videos below {temp_dir}/video of the frames below {temp_dir}/binary and
    {temp_dir}/overlay: one for each object, and one for all where `merged` is True. The video of an
    object begins with the first frame that it has."""
    folders = DirectoryStructure.get_directory_map(temp_dir, include_video=True)
    kinds = [
        (binary, "binary", "mask", FilePattern.VIDEO_MASK, FilePattern.VIDEO_MERGED_MASK),
        (
            overlay,
            "overlay",
            "overlay",
            FilePattern.VIDEO_OVERLAY,
            FilePattern.VIDEO_MERGED_OVERLAY,
        ),
    ]
    for wanted, kind, ending, of_object, of_all in kinds:
        if not wanted:
            continue
        target = folders[f"{DirectoryStructure.VIDEO}_{kind}"]
        objects: dict[str, list[str]] = {}
        for path in _pictures(folders[f"{kind}_{DirectoryStructure.FRAMES}"]):
            name = re.fullmatch(rf"\d+_(obj\d+)_(.*)_{ending}\.png", os.path.basename(path))
            if name is not None:
                video = of_object.format(obj_id=name[1], prompt=name[2])
                objects.setdefault(video, []).append(path)
        for video, paths in objects.items():
            images_to_video(paths, os.path.join(target, video), fps)
        together = _pictures(folders[f"{kind}_{DirectoryStructure.MERGED}"]) if merged else []
        if together:
            images_to_video(together, os.path.join(target, of_all), fps)


def _pictures(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    pictures = [name for name in names if name.endswith(".png")]
    return [
        os.path.join(folder, name)
        for name in sorted(pictures, key=FilePatternMatcher.natural_sort_key)
    ]
