"""What the commands share: names of files, text for the terminal, bars, the end of each image."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

CANNOT_BEGIN: tuple[type[Exception], ...] = (
    ValueError,
    OSError,
    NotImplementedError,
    MemoryError,
    ImportError,
)


def shown(text: object) -> str:
    """Text for the terminal: rich's markup escaped, bytes that are not UTF-8 replaced."""
    return escape(str(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


@contextmanager
def refusing(*also: type[Exception]) -> Iterator[None]:
    """What a command cannot begin with (a model, an option, a folder) is said once, on standard
    error, and the command exits with 2. also : further exceptions that mean that."""
    try:
        yield
    except (*CANNOT_BEGIN, *also) as error:
        Console(stderr=True).print(
            f"[red]error:[/red] {shown(error)}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(2) from error


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """In the place of `warnings.showwarning`: the text, without the line of code that gave it."""
    print(f"warning: {message}", file=file or sys.stderr)


def free_stem(stem: str, taken: set[str]) -> str:
    """The name of the outputs: a second image of the same stem gets -2, and so on, so that none
    overwrites another."""
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    name = next(n for n in names if n not in taken)
    taken.add(name)
    return name


def bar(console: Console, quiet: bool) -> Progress:
    """Of images, with a note each; hidden where nobody looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=quiet or not console.is_terminal,
    )


def show_outcome(records: list[dict[str, Any]], console: Console) -> None:
    """The files of each image, or why it failed."""
    for r in records:
        if "error" in r:
            console.print(
                f"[red]failed[/red] {shown(r['image'])}: {shown(r['error'])}",
                highlight=False,
                soft_wrap=True,
            )
        else:
            for kind, path in r["files"].items():
                console.print(f"  {kind:8} {shown(path)}", highlight=False, soft_wrap=True)
