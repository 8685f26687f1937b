"""`segrid convert`: converts an original checkpoint to a model folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from segrid.cli.output import exit_on_error, printable


def run(checkpoint: Path, output: Path, as_json: bool) -> int:
    """Runs the command. Returns the exit code 0. Exits with 2 if the file is not such a
    checkpoint."""
    from segrid.convert import convert

    with exit_on_error():
        found = convert(checkpoint, output)
    if as_json:
        sys.stdout.write(json.dumps(found | {"folder": str(output)}, indent=2) + "\n")
    else:
        left = f", {len(found['dropped'])} left out" if found["dropped"] else ""
        memory = " with the memory of video" if found["video"] else ""
        Console().print(
            f"{found['family']}{memory}: {found['tensors']} tensors{left}, "
            f"{found['bytes'] / 1e6:.0f} MB, checked by a click: {printable(output)}",
            highlight=False,
            soft_wrap=True,
        )
    return 0
