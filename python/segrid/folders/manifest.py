"""The manifest: a record of the images that are done. It has one line for each image, written after
the image's files. A run that was killed resumes from it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from segrid._native import CorruptFileError
from segrid._types import JsonObject, Options

NAME = "manifest.jsonl"
LONGEST = 2**20  # the most characters of a first line with options that segrid writes
Records = dict[str, JsonObject]  # by image


class OtherOptions(ValueError):
    """The folder holds the results of other options."""


class Manifest:
    """The open manifest of an output folder. Only one run at a time can have it open.

    Raises OtherOptions if the folder was made with other options; CorruptFileError, naming the
    line, for a file that is not a manifest, which is not changed; BlockingIOError while another run
    has it open; and OSError."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.path = folder / NAME
        self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (closed by close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            lines = self._file.read().splitlines(keepends=True)
            complete = [line for line in lines if line.endswith("\n")]
            self.records = _parsed(self.path, lines, options)
            # The last line was being written when the run was killed.
            if len(complete) < len(lines):
                self._file.truncate(sum(len(line.encode()) for line in complete))
            if not complete:
                self._write({"options": options})
        except BaseException:
            self._file.close()
            raise

    def add(self, record: JsonObject) -> None:
        """Appends the record of an image. It is on disk when this returns."""
        self.records[record["image"]] = record
        self._write(record)

    def _write(self, line: JsonObject) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the manifest, so that other runs can open it."""
        self._file.close()


def read_records(folder: Path, options: Options) -> Records:
    """Returns the records of a folder's manifest, or none if there is no manifest. Writes nothing.
    Raises the errors of `Manifest` about a manifest's content, and OSError."""
    path = folder / NAME
    if not path.exists():
        return {}
    return _parsed(path, path.read_text(encoding="utf-8").splitlines(keepends=True), options)


def options_of(folder: Path) -> JsonObject | None:
    """Returns the options in a folder's manifest, or None if it has no manifest that segrid
    wrote."""
    path = folder / NAME
    if not os.path.isfile(path):  # opening a pipe of that name would block
        return None
    try:
        with open(path, encoding="utf-8") as file:
            first = json.loads(file.readline(LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    options = first.get("options") if isinstance(first, dict) else None
    return options if isinstance(options, dict) else None


def _parsed(path: Path, lines: list[str], options: Options) -> Records:
    """Checks that the lines belong to a manifest, and returns their records. The last line may be
    incomplete."""
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
    """Returns size and modification time, or None for a file that does not exist. If they change,
    the image is done again."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns]
