"""Which model a command runs, and what it says when it ran a packaged one that nobody named."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from segrid._types import Options
from segrid.cli.output import printable

SEGMENTER = "facebook/sam2.1-hiera-tiny"
DETECTOR = "google/owlv2-base-patch16-ensemble"
DOWNLOADS = {SEGMENTER: "156 MB, Apache-2.0", DETECTOR: "620 MB, Apache-2.0"}
# What the packaged models are for, by their cards.
MADE_FOR = {
    "tiny": "`tiny`, the packaged model, is for trying segrid out and for blobs (nuclei, colonies, "
    "coins)",
    "tiny-detector": "`tiny-detector`, the packaged detector, knows colours, plain shapes, nuclei",
}


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """--model, --device, --precision and --threads. named: the user gave --model."""

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
        """The segmenter, after the thread budget is set. Raises what `segrid.Segmenter` raises."""
        import segrid

        self.set_threads()
        return segrid.Segmenter(self.model, **self.where)

    def set_threads(self) -> None:
        """Sets the thread budget. Raises ValueError for a number that is not allowed."""
        import segrid

        if self.threads is not None:
            segrid.set_threads(self.threads)


def advise(
    console: Console, unnamed: dict[str, str], command: Sequence[str] = (), also: str = ""
) -> None:
    """One note, where a packaged model ran that the user had not named: what it is for, and the
    options that take models made for photos, with what they cost.

    unnamed : option -> packaged model that stood for it
    command : what ran; the note repeats it with those options. None given: no command is shown
    also : what else must change, such as "and another -o"
    """
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
        f"[yellow]note:[/yellow] {printable(about)}. On everyday photos little of what it finds is "
        f"of use. For what is made for photos, downloaded once ({printable(costs)}), "
        f"add {' '.join(options)}{also and ' ' + also}{again}",
        highlight=False,
        soft_wrap=True,
    )
