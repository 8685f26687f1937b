"""Videos that callers name by their path: nothing outside the media root is ever opened."""

from __future__ import annotations

import os
from pathlib import Path

from segrid.serve.errors import ServiceError


def check_root(root: str) -> None:
    """Raises ValueError for a media root that is no folder. Empty: there is none."""
    if root and not Path(root).is_dir():
        raise ValueError(f"media_root: there is no folder {root}; make it, or name another one")


def media_path(root: str, named: str) -> Path:
    """The path of a video below the media root, with symbolic links resolved.

    named : relative to the root, or absolute and below it

    Raises ServiceError: 403 where no root is set, 404 for everything that is not a file or a folder
    below it, whether it exists or not.
    """
    if not root:
        raise ServiceError(
            403,
            "not_allowed",
            "the service reads no videos by their path; upload the video, or start the service "
            "with media_root",
            setting="media_root",
        )
    top = Path(root).resolve()
    missing = ServiceError(404, "no_video", "there is no such video below media_root")
    try:
        path = (top / named).resolve(strict=True)
        if not path.is_relative_to(top) or path == top or not (path.is_file() or path.is_dir()):
            raise missing
        if path.is_dir():
            for entry in os.scandir(path):
                if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(top):
                    raise missing
    except (OSError, ValueError, RuntimeError) as error:  # NUL, too long, links in a circle
        raise missing from error
    return path
