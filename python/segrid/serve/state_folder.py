"""The folder in which a server keeps the files of its sessions."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory

from segrid import _temporary

PREFIX = "segrid-serve-"
SCRATCH = "scratch-"
SESSION = re.compile(r"[0-9a-f]{32}", re.ASCII)


def made(path: str) -> Path:
    """The folder of the setting, which is made where it is missing. Raises ValueError where a file
    has its name, OSError."""
    folder = Path(path).resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(f"state_dir: {path} is a file; give a folder") from error
    return folder


class StateFolder:
    """A folder with one folder for each session, used by one server at a time.

    A temporary one is made where no path is given; it is removed by `close`, and what a killed
    server left is removed when the next one starts. A given one stays, and its sessions are
    `leftovers`.

    Raises ValueError where another server uses the folder, OSError.
    """

    def __init__(self, path: str) -> None:
        self._is_temporary = not path
        if path:
            self.path = made(path)
            try:
                self._lock = _temporary.lock(self.path)
            except BlockingIOError as error:
                raise ValueError(
                    f"state_dir: another server uses {self.path}; give each server its own"
                ) from error
        else:
            self.path, self._lock = _temporary.make(Path(tempfile.gettempdir()), PREFIX)
        for left in self.path.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)

    def scratch(self) -> TemporaryDirectory[str]:
        """A folder for files that are made for one answer. What a crash leaves of it is removed by
        the next server."""
        return TemporaryDirectory(prefix=SCRATCH, dir=self.path)

    def leftovers(self) -> list[str]:
        """The ids of the sessions whose folders are there."""
        return sorted(
            entry.name
            for entry in os.scandir(self.path)
            if SESSION.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        )

    def new(self, session_id: str) -> Path:
        """Makes the folder of a session."""
        folder = self.path / session_id
        folder.mkdir(mode=0o700)
        return folder

    def remove(self, session_id: str) -> None:
        """Removes the folder of a session."""
        shutil.rmtree(self.path / session_id, ignore_errors=True)

    def close(self) -> None:
        """Lets other servers use the folder; removes a temporary one."""
        if self._is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
