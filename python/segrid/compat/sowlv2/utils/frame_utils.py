"""Recognises image and video files."""

from __future__ import annotations

from typing import Any

from segrid.compat.video import not_yet

VALID_EXTS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
VALID_VIDEO_EXTS = {".mp4", ".avi", ".mov", ".mkv", ".webm"}


def is_valid_image_extension(ext: str) -> bool:
    """Whether a lower-case ending with its dot (".png") belongs to an image."""
    return ext in VALID_EXTS


def process_propagated_frame(*_: Any, **__: Any) -> Any:
    """Raises NotImplementedError, because videos need segrid's tracker, which does not exist
    yet."""
    not_yet("process_propagated_frame", "process_frames detects in every frame")
