"""Folders of outputs."""

from __future__ import annotations

import os

from segrid.compat.sowlv2.utils.path_config import DirectoryStructure


def remove_empty_folders(root_dir: str) -> None:
    """Removes `root_dir` and the folders below it if they hold no file. Does nothing if it is
    missing; prints a line if a folder cannot be removed."""
    for folder, _, _ in os.walk(root_dir, topdown=False):
        try:
            if not os.listdir(folder):
                os.rmdir(folder)
        except OSError as error:
            print(f"Failed to remove {folder}: {error}")


def create_output_directories(base_dir: str, include_video: bool = False) -> dict[str, str]:
    """Makes the folders of `DirectoryStructure.get_directory_map` and returns the map."""
    folders = DirectoryStructure.get_directory_map(base_dir, include_video)
    for folder in folders.values():
        os.makedirs(folder, exist_ok=True)
    return folders
