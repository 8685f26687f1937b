"""Writes the files of a model: all of them appear in their folder, or none does."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segrid._types import Tensors

WEIGHTS = "model.safetensors"


def check_holds_no_model(folder: Path) -> None:
    """Raises FileExistsError where the folder holds files of a model, which would be mixed with
    those of another one."""
    held = [name for name in ("config.json", "segrid.json") if (folder / name).exists()]
    held += sorted(path.name for path in folder.glob("*.safetensors"))
    if held:
        raise FileExistsError(
            f"{folder}: holds files of a model ({', '.join(held[:4])}); give another folder"
        )


@contextmanager
def new_model_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder inside `folder`, which is made where it is missing.

    At the end of the block its files are moved into `folder`, the weights last: a folder with
    weights is complete. Where the block raises, none of them is left.

    Raises FileExistsError where `folder` holds a model. An OSError about the temporary folder names
    `folder` instead.
    """
    check_holds_no_model(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
        try:
            yield part
            for file in sorted(part.iterdir(), key=lambda path: path.name == WEIGHTS):
                os.replace(file, folder / file.name)
        except OSError as error:
            where = os.fsdecode(error.filename or part)
            if error.errno is None or str(part) not in where:
                raise
            where = where.replace(str(part), str(folder))
            raise type(error)(error.errno, error.strerror, where) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    finally:
        if is_new:
            with suppress(OSError):  # It is not empty: it holds the model.
                folder.rmdir()


def _use_umask(path: Path) -> None:
    """Gives a file the mode of other new files, since safetensors lets only its owner read it."""
    empty = path.with_name(f".{path.name}.mode")
    empty.touch()
    path.chmod(empty.stat().st_mode & 0o777)
    empty.unlink()


def write_weights(tensors: Tensors, path: Path) -> None:
    """Writes torch's tensors as safetensors. Raises OSError naming the file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            str(path),
            metadata={"format": "pt"},
        )
        _use_umask(path)
    except SafetensorError as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise ValueError(f"{path.name}: cannot be written: {error}") from error
