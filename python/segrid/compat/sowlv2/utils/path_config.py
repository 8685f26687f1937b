"""The names of the files and folders that SOWLv2 writes."""

from __future__ import annotations

import os
import re
from enum import Enum


class OutputType(Enum):
    """Kinds of outputs."""

    BINARY = 1
    OVERLAY = 2
    MERGED = 3


class FilePattern:
    """Formats of file names."""

    FRAME_NUM_FORMAT = "{:06d}"
    INDIVIDUAL_MASK = "{frame_num}_obj{obj_id}_{prompt}_mask.png"
    INDIVIDUAL_OVERLAY = "{frame_num}_obj{obj_id}_{prompt}_overlay.png"
    MERGED_MASK = "{frame_num}_merged_mask.png"
    MERGED_OVERLAY = "{frame_num}_merged_overlay.png"
    VIDEO_MASK = "{obj_id}_{prompt}_mask.mp4"
    VIDEO_OVERLAY = "{obj_id}_{prompt}_overlay.mp4"
    VIDEO_MERGED_MASK = "merged_mask.mp4"
    VIDEO_MERGED_OVERLAY = "merged_overlay.mp4"

    @classmethod
    def get_individual_patterns(cls) -> dict[str, str]:
        """Returns the name formats of the files of one object."""
        return {"mask": cls.INDIVIDUAL_MASK, "overlay": cls.INDIVIDUAL_OVERLAY}

    @classmethod
    def get_merged_patterns(cls) -> dict[str, str]:
        """Returns the name formats of the files of all objects together."""
        return {"mask": cls.MERGED_MASK, "overlay": cls.MERGED_OVERLAY}


class DirectoryStructure:
    """The names of folders: binary/frames, binary/merged, overlay/frames, overlay/merged, video."""

    BINARY = "binary"
    OVERLAY = "overlay"
    VIDEO = "video"
    FRAMES = "frames"
    MERGED = "merged"

    @classmethod
    def get_directory_map(cls, base_dir: str, include_video: bool = False) -> dict[str, str]:
        """Returns {"binary": ..., "binary_frames": ..., "overlay_merged": ...} below `base_dir`."""
        tree = {kind: (cls.FRAMES, cls.MERGED) for kind in (cls.BINARY, cls.OVERLAY)}
        if include_video:
            tree[cls.VIDEO] = (cls.BINARY, cls.OVERLAY)
        folders = {}
        for kind, parts in tree.items():
            folders[kind] = os.path.join(base_dir, kind)
            folders |= {f"{kind}_{part}": os.path.join(base_dir, kind, part) for part in parts}
        return folders

    @classmethod
    def get_base_directories(cls) -> list[str]:
        """Returns the names of the top folders."""
        return [cls.BINARY, cls.OVERLAY, cls.VIDEO]


class FilePatternMatcher:
    """Regular expressions that split the names of `FilePattern` into their parts."""

    @staticmethod
    def get_individual_mask_pattern() -> str:
        """Has the groups number, object and prompt."""
        return r"(\d+)_obj(\d+)_(.*?)_mask\.png"

    @staticmethod
    def get_simple_mask_pattern() -> str:
        """Has the groups number and "obj" with the object's number."""
        return r"(\d+)_(obj\d+)_mask\.png"

    @staticmethod
    def get_merged_mask_pattern() -> str:
        """Group: number."""
        return r"(\d+)_merged_mask\.png"

    @staticmethod
    def get_merged_overlay_pattern() -> str:
        """Group: number."""
        return r"(\d+)_merged_overlay\.png"

    @staticmethod
    def natural_sort_key(s: str) -> list[int | str]:
        """Returns a sort key by which "a10" comes after "a9"."""
        return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", s)]
