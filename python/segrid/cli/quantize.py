"""`segrid quantize`: makes a model folder with int8 weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from segrid.cli.output import exit_on_error, printable


def run(model: str, output: Path, as_json: bool) -> int:
    """Runs the command. Returns the exit code 0. Exits with 2 if the model cannot be saved so."""
    import segrid

    with exit_on_error():
        segrid.Segmenter(model, device="cpu", precision="int8").save(output)
    size = (output / "model.safetensors").stat().st_size
    if as_json:
        sys.stdout.write(json.dumps({"folder": str(output), "bytes": size}) + "\n")
    else:
        Console().print(
            f"{size / 1e6:.1f} MB: {printable(output)}", highlight=False, soft_wrap=True
        )
    return 0
