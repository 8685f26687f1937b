"""The common part of the commands: file names, text for the terminal, bars, image outcomes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segrid._files import free_name
from segrid._types import JsonObject

CANNOT_BEGIN: tuple[type[Exception], ...] = (
    ValueError,
    OSError,
    NotImplementedError,
    MemoryError,
    ImportError,
)


def printable(text: object) -> str:
    """Prepares text for rich: escapes its markup and replaces bytes that are not UTF-8."""
    return escape(_utf8(text))


def _utf8(text: object) -> str:
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Item(NamedTuple):
    """An image given to a command."""

    path: Path
    # The name in COCO files: relative to the deepest folder that holds all images, with slashes.
    name: str
    # The path of the results, without their endings.
    target: Path

    def files(self, endings: dict[str, str]) -> dict[str, Path]:
        """Returns the paths of the results. endings : one per kind, such as {"coco":
        "_coco.json"}."""
        return {k: self.target.with_name(self.target.name + end) for k, end in endings.items()}


def items(images: list[Path], output: Path) -> list[Item]:
    """Returns the images with their targets in `output`.

    The second image with the same stem gets -2, and so on, so that none overwrites another."""
    paths = [Path(os.path.abspath(image)) for image in images]
    root = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(root).as_posix() for path in paths]
    taken: dict[str, int] = {}
    return [
        Item(image, name, output / free_name([image.stem], taken))
        for image, name in zip(images, names, strict=True)
    ]


def keep_inputs(images: list[Path], written: Iterable[Path]) -> None:
    """Raises ValueError naming the first file to be written that is one of the images."""
    inputs = {os.path.realpath(image) for image in images}
    for path in written:
        if os.path.realpath(path) in inputs:
            raise ValueError(
                f"{path}: is one of the images, and would be replaced; write elsewhere"
            )


@contextmanager
def exit_on_error(*also: type[Exception]) -> Iterator[None]:
    """Turns an error with which a command cannot begin (a model, an option, a folder) into one
    message on standard error and exit code 2. also : further exceptions that count as such
    errors."""
    try:
        yield
    except (*CANNOT_BEGIN, *also) as error:
        Console(stderr=True).print(
            f"[red]error:[/red] {printable(error)}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(2) from error


def print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Replaces `warnings.showwarning`: prints the text without the line of code that raised it."""
    print(f"warning: {_utf8(message)}", file=file or sys.stderr)


def progress_bar(console: Console, quiet: bool) -> Progress:
    """Returns a progress bar over images, with a note for each; hidden if the output is not a
    terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=quiet or not console.is_terminal,
    )


def failure(image: Path, error: Exception) -> JsonObject:
    """The record of an image that failed."""
    more = "; for folders use segrid batch" if isinstance(error, IsADirectoryError) else ""
    return {"image": str(image), "error": f"{type(error).__name__}: {error}{more}"}


def show_outcome(records: list[JsonObject], console: Console) -> None:
    """Prints the files of each image, or the reason why it failed."""
    for r in records:
        if "error" in r:
            console.print(
                f"[red]failed[/red] {printable(r['image'])}: {printable(r['error'])}",
                highlight=False,
                soft_wrap=True,
            )
        else:
            for kind, path in r["files"].items():
                console.print(f"  {kind:8} {printable(path)}", highlight=False, soft_wrap=True)
