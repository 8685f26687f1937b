"""Videos of masks and overlays, which need segrid's tracker."""

from __future__ import annotations

from typing import Any

from segrid.compat.video import not_yet


def images_to_video(image_paths: list[str], output_path: str, fps: int) -> None:
    """Raises NotImplementedError, because segrid does not write videos yet."""
    not_yet("images_to_video", "ffmpeg makes a video of images")


def generate_videos(temp_dir: str, fps: int, *_: Any, **__: Any) -> None:
    """Raises NotImplementedError, because segrid does not write videos yet."""
    not_yet("generate_videos", "ffmpeg makes a video of images")
