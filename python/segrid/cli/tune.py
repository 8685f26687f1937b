"""`segrid tune`: finds the best settings of this machine for your own images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from segrid._types import JsonObject, Options
from segrid.cli.output import exit_on_error, printable, progress_bar


def run(
    inputs: list[str], output: Path, model: str, images: int, sweep: Options, as_json: bool
) -> int:
    """Runs the command.

    sweep : options of `segrid.tune`

    Returns the exit code 0. Exits with 2 if nothing can be measured."""
    from segrid.folders.inputs import collect
    from segrid.measuring.tuning import tune
    from segrid.measuring.tuning_report import write_report

    console = Console(stderr=True)
    with exit_on_error(RuntimeError):
        if output.exists() and not output.is_dir():
            raise ValueError(f"-o {output}: is a file; give a folder for the report")
        chosen = [str(one.path) for one in collect(inputs)][:images]
        with progress_bar(console, as_json) as bars:
            task = bars.add_task("tune", total=None, note="")

            def each(state: JsonObject) -> None:
                s = state["setting"]
                bars.update(
                    task,
                    total=state["total"],
                    completed=state["done"],
                    note=f"{s['threads']} threads, {s['in_flight']} images, {s['precision']}, "
                    f"{s['points_per_side']} points",
                )

            found = tune(chosen, model=model, **sweep, progress=each)
        files = write_report(found, output)
    if as_json:
        sys.stdout.write(json.dumps(found.profile(), indent=2) + "\n")
        return 0
    out = Console()
    out.print(
        printable((output / "recommendation.txt").read_text(encoding="utf-8").strip()),
        highlight=False,
        soft_wrap=True,
    )
    for file in files:
        out.print(f"  {printable(file)}", highlight=False, soft_wrap=True)
    return 0
