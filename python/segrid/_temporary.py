"""Temporary folders that a lock marks as in use.

A lock ends with its process, so that what a killed process left behind can be told from what is in
use, and be removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

LOCK = "in-use"


def lock(folder: Path) -> int:
    """Takes the lock of a folder, and returns the file descriptor that keeps it.

    Raises BlockingIOError where another descriptor keeps it, OSError.
    """
    taken = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(taken)
        raise
    return taken


def make(parent: Path, prefix: str) -> tuple[Path, int]:
    """Removes the unused folders of this prefix, and makes another one, for this user alone.

    Returns the folder and the file descriptor that keeps its lock. Raises OSError.
    """
    remove_unused(parent, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            taken = lock(folder)
        except (BlockingIOError, FileNotFoundError):  # Another process saw it unlocked.
            continue
        if (folder / LOCK).exists():
            return folder, taken
        os.close(taken)  # It was removed before the lock was taken.


def remove_unused(parent: Path, prefix: str) -> None:
    """Removes this user's folders of `prefix` below `parent` whose processes have ended."""
    for folder in parent.glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            taken = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # It is being made or removed, or is not one of these folders.
            continue
        try:
            fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # It is in use.
            pass
        finally:
            os.close(taken)
