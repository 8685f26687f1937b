"""Files: atomic writing, reading of JSON, hashes, and unused names."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BLOCK = 2**20  # bytes of a file that are hashed at a time


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and makes its folder.

    At the end of the block the temporary file is renamed to `path`; where the block raises, it is
    removed. An OSError names `path`.
    """
    target = Path(os.fsdecode(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    # The hash keeps the name short, however long the file's own name is.
    name = hashlib.sha1(target.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    part = target.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        os.replace(part, target)
    except OSError as error:
        if error.errno is None:
            raise OSError(f"{target}: {error}") from error
        raise type(error)(error.errno, error.strerror, str(target)) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Writes the text as UTF-8, by `atomic_write`."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file. Raises ValueError naming a file that is not JSON, OSError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not JSON ({error})") from error


def sha1(path: str | os.PathLike[str]) -> bytes:
    """The SHA-1 digest of a file of any size, which is read in blocks. Raises OSError."""
    digest = hashlib.sha1()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


def free_name(names: Sequence[str], taken: dict[str, int]) -> str:
    """The first of `names` that is not taken, else the last one with -2, -3, ... after it.

    taken : the names in use, each with the number to try next; the new name is added. With these
        numbers, many equal names take no longer than as many different ones.
    """
    name = next((n for n in names if n not in taken), None)
    if name is None:
        last = names[-1]
        number = next(n for n in itertools.count(taken[last]) if f"{last}-{n}" not in taken)
        taken[last], name = number + 1, f"{last}-{number}"
    taken[name] = 2
    return name
