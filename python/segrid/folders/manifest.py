"""What is done: one line for each image, written after its files are there. A run that was killed
goes on from it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from segrid._native import CorruptFileError
from segrid._types import JsonObject, Options

NAME = "manifest.jsonl"
LONGEST = 2**20  # characters of a first line with options that segrid wrote
Records = dict[str, JsonObject]  # by image


class OtherOptions(ValueError):
    """The folder holds the results of other options."""


class Manifest:
    """The open manifest of an output folder; one run at a time has it.

    Raises OtherOptions where the folder was made with other options, CorruptFileError (naming the
    line) for a file that is no manifest, which is left as it is, BlockingIOError while another run
    has it, OSError.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.path = folder / NAME
        self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (closed by close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            lines = self._file.read().splitlines(keepends=True)
            complete = [line for line in lines if line.endswith("\n")]
            self.records = _parsed(self.path, lines, options)
            if len(complete) < len(lines):  # the run was killed while it wrote the last line
                self._file.truncate(sum(len(line.encode()) for line in complete))
            if not complete:
                self._write({"options": options})
        except BaseException:
            self._file.close()
            raise

    def add(self, record: JsonObject) -> None:
        """Appends the record of an image, on disk when this returns."""
        self.records[record["image"]] = record
        self._write(record)

    def _write(self, line: JsonObject) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the manifest, so that other runs can have it."""
        self._file.close()


def read_records(folder: Path, options: Options) -> Records:
    """The records of a folder's manifest, none where there is no manifest; nothing is written.
    Raises what `Manifest` raises of a manifest's content, OSError."""
    path = folder / NAME
    if not path.exists():
        return {}
    return _parsed(path, path.read_text(encoding="utf-8").splitlines(keepends=True), options)


def options_of(folder: Path) -> JsonObject | None:
    """The options in a folder's manifest; None where it has none that segrid wrote."""
    path = folder / NAME
    if not os.path.isfile(path):  # a pipe of that name would be waited for
        return None
    try:
        with open(path, encoding="utf-8") as file:
            first = json.loads(file.readline(LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    options = first.get("options") if isinstance(first, dict) else None
    return options if isinstance(options, dict) else None


def _parsed(path: Path, lines: list[str], options: Options) -> Records:
    """The records in a manifest's lines, the last of which may be half a line.

    It checks that the lines are a manifest's.
    """
    parsed = [
        _line(path, i, line)
        for i, line in enumerate(lines)
        if i < len(lines) - 1 or line.endswith("\n")
    ]
    if not parsed:
        if lines and not lines[0].startswith('{"options"'[: len(lines[0])]):
            raise _foreign(path, 0)
        return {}
    if parsed[0]["options"] != options:
        raise OtherOptions(
            f"{path}: the results in this folder were made with other options or "
            "models; give another -o, or remove this file and the results"
        )
    return {record["image"]: record for record in parsed[1:]}


def _line(path: Path, number: int, line: str) -> JsonObject:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    kinds: dict[str, type | tuple[type, ...]] = (
        {"options": dict}
        if number == 0
        else {"image": str, "status": str, "file": (list, type(None))}
    )
    if isinstance(found, dict) and found.get("status") in ("done", "failed"):
        kinds |= {"outputs": list} if found["status"] == "done" else {"error": str}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(k), v) for k, v in kinds.items()
    ):
        raise _foreign(path, number)
    return found


def _foreign(path: Path, number: int) -> CorruptFileError:
    return CorruptFileError(
        f"{path}:{number + 1}: not a line of a manifest that segrid wrote; "
        "give another -o, or remove this file"
    )


def fingerprint(path: Path) -> list[int] | None:
    """Size and time of change, by which a file that changed is done again; None for one that is not
    there."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns]
