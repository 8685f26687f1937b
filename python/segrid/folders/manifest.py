"""What is done: one line for each image, written after its files are there. A run that was killed goes on from it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from segrid._native import CorruptFileError

NAME = "manifest.jsonl"


class OtherOptions(ValueError):
    """The folder holds the results of other options."""


class Manifest:
    """The open manifest of an output folder; one run at a time has it.

    Raises OtherOptions where the folder was made with other options, CorruptFileError (naming the line) for a file that is no manifest, which is left as it is,
    BlockingIOError while another run has it, OSError.
    """

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.path = folder / NAME
        self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (closed by close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.records = self._read(options)
        except BaseException:
            self._file.close()
            raise

    def _read(self, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        parsed = [self._line(i, line) for i, line in enumerate(lines) if i < len(lines) - 1 or line.endswith("\n")]
        if not parsed:
            if lines and not lines[0].startswith('{"options"'[: len(lines[0])]):
                raise CorruptFileError(f"{self.path}:1: not a manifest that segrid wrote; give another -o, or remove it")
            self._file.truncate(0)
            self._write({"options": options})
            return {}
        if parsed[0]["options"] != options:
            raise OtherOptions(f"{self.path}: this folder was made with other options or models; give another -o, or remove it")
        if len(parsed) < len(lines):  # the line that was being written when the run was killed
            self._file.truncate(sum(len(line.encode()) for line in lines[:-1]))
        return {record["image"]: record for record in parsed[1:]}

    def _line(self, number: int, line: str) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        kinds: dict[str, Any] = {"options": dict} if number == 0 else {"image": str, "status": str, "file": (list, type(None))}
        if isinstance(found, dict) and found.get("status") in ("done", "failed"):
            kinds |= {"outputs": list} if found["status"] == "done" else {"error": str}
        if not isinstance(found, dict) or not all(isinstance(found.get(k), kind) for k, kind in kinds.items()):
            raise CorruptFileError(f"{self.path}:{number + 1}: not a line of a manifest that segrid wrote; give another -o, or remove it")
        return found

    def add(self, record: dict[str, Any]) -> None:
        """Appends the record of an image, on disk when this returns."""
        self.records[record["image"]] = record
        self._write(record)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets other runs have it."""
        self._file.close()


def fingerprint(path: Path) -> list[int] | None:
    """Size and time of change, by which a file that changed is done again; None for one that is not there."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns]
