"""Files: written whole or not at all; read as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`, whose folder is made.

    The temporary file is renamed to `path` at the end, and removed where the body raises. An
    OSError names the file.
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
    """Writes the text as UTF-8, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Raises ValueError naming the file where it is not JSON, OSError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: not JSON ({error})") from error
