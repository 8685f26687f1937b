"""Chooses the model that a command runs, and advises users who ran a packaged one by default."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from segrid._types import Options
from segrid.cli.output import printable

TRACKER = "tiny-video"
SEGMENTER = "facebook/sam2.1-hiera-tiny"
DETECTOR = "google/owlv2-base-patch16-ensemble"
DOWNLOADS = {SEGMENTER: "156 MB, Apache-2.0", DETECTOR: "620 MB, Apache-2.0"}
# The purpose of the packaged models, according to their cards.
MADE_FOR = {
    "tiny": "`tiny`, the packaged model, is for trying segrid out and for blobs (nuclei, colonies, "
    "coins)",
    "tiny-detector": "`tiny-detector`, the packaged detector, knows colours, plain shapes, nuclei",
    TRACKER: "`tiny-video`, the packaged tracker, is for trying segrid out",
}


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """The values of --model, --device, --precision and --threads. named: the user gave --model."""

    model: str
    device: str
    precision: str
    threads: int | None
    named: bool = True

    @property
    def where(self) -> Options:
        """The keyword arguments for loading the model."""
        return {"device": self.device, "precision": self.precision}

    def segmenter(self) -> Any:
        """Sets the thread budget and returns the segmenter. Raises the errors of
        `segrid.Segmenter`."""
        import segrid

        self.set_threads()
        return segrid.Segmenter(self.model, **self.where)

    def set_threads(self) -> None:
        """Sets the thread budget. Raises ValueError for a number that is not allowed."""
        set_threads(self.threads)


def set_threads(threads: int | None) -> None:
    """Sets the thread budget to the value of --threads, if there is one. Raises ValueError naming
    the option for a number that is not allowed."""
    import segrid

    if threads is not None:
        try:
            segrid.set_threads(threads)
        except ValueError as error:
            raise ValueError(f"--threads: must be from 1 to 1024, got {threads}") from error


def advise(
    console: Console, unnamed: dict[str, str], command: Sequence[str] = (), also: str = ""
) -> None:
    """Prints a note if a packaged model ran that the user had not named. It gives the model's
    purpose, and the options that select models made for photos, with the size of their download.

    unnamed : option -> packaged model that was its default
    command : the words of the command that ran, which the note repeats with those options; if
        empty, no command is shown
    also : what else must change, such as "and another -o"."""
    if not unnamed:
        return
    better = {
        option: DETECTOR if model == "tiny-detector" else SEGMENTER
        for option, model in unnamed.items()
    }
    options = [word for pair in better.items() for word in pair]
    about = "; ".join(MADE_FOR[model] for model in dict.fromkeys(unnamed.values()))
    costs = "; ".join(f"{name}: {DOWNLOADS[name]}" for name in dict.fromkeys(better.values()))
    again = f":\n  {printable(shlex.join([*command, *options]))}" if command else ""
    console.print(
        f"[yellow]note:[/yellow] {printable(about)}. On everyday photos its results are of little "
        f"use. For models made for photos, which are downloaded once ({printable(costs)}), "
        f"add {' '.join(options)}{also and ' ' + also}{again}",
        highlight=False,
        soft_wrap=True,
    )
