"""Recognises failed downloads of models, before anything reads them: an empty file, a web page, a
git-lfs pointer."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

from segrid._native import CorruptFileError

LOOKED_AT = 1024  # bytes at the beginning of a file


def check_model_file(path: str | os.PathLike[str], *, binary: str = "") -> None:
    """Raises CorruptFileError for a failed download; the message says what the file is and how to
    get the right one. Raises OSError where it cannot be read, and ValueError where its path is not
    UTF-8, which the engine needs.

    binary : the name of its content where a text file is wrong ("weights")
    """
    name = os.fsdecode(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name!r}: this path is not UTF-8 and cannot be read; rename its folder or file"
        ) from error
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a directory says what it is
        raise CorruptFileError(
            f"{name}: is a pipe or a device, not a regular file; copy its content into a file"
        )
    with open(path, "rb") as file:
        begin = file.read(LOOKED_AT)
    found = _instead(begin, binary)
    if found is not None:
        raise CorruptFileError(f"{os.fspath(path)}: {found}")


def check_checkpoint(path: Path) -> None:
    """Does the same for an original checkpoint. It also refuses zip archives without a checkpoint,
    and safetensors files, which need no conversion."""
    check_model_file(path, binary="weights")
    with path.open("rb") as file:
        begin = file.read(9)
    if begin[8:] == b"{" and int.from_bytes(begin[:8], "little") < path.stat().st_size:
        raise CorruptFileError(
            f"{path}: is a safetensors file, which needs no converting; pass "
            "its folder as the model, with its config.json beside it"
        )
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith("data.pkl") for name in names):
        some = ", ".join(sorted(names)[:3]) or "nothing"
        raise CorruptFileError(
            f"{path}: is a zip archive, but no checkpoint (it holds {some}); "
            "unpack it and give the checkpoint that is in it"
        )


def _instead(begin: bytes, binary: str) -> str | None:
    if not begin:
        return (
            "is an empty file (0 bytes): the download did not happen or was cut off; fetch it again"
        )
    if begin.startswith(b"version https://git-lfs.github.com/spec/"):
        return (
            "is a git-lfs pointer, not the file itself: run `git lfs install` and `git lfs pull` "
            "where it was cloned, or download the file"
        )
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<!--")):
        return (
            "is a web page (HTML or XML), not the file: the address answered with a page, such "
            "as a login or an error; download the file itself (on the Hugging Face Hub the "
            "address has /resolve/ in it, not /blob/)"
        )
    if binary and _is_text(begin):
        first = begin.decode("utf-8", "replace").split("\n", 1)[0].strip()[:60]
        return f"is a text file, not {binary}; it begins with {first!r}"
    return None


def _is_text(begin: bytes) -> bool:
    try:
        text = begin.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(begin) - 4:  # else the last character is cut off
            return False
        text = begin[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n" for character in text)
