"""`segrid info`: prints the build, the machine and the model."""

from __future__ import annotations

import json
import sys

from rich.console import Console

from segrid._types import JsonObject
from segrid.cli.choice import ModelChoice
from segrid.cli.output import exit_on_error, printable


def collect(choice: ModelChoice) -> JsonObject:
    """Returns everything the command shows, as one dictionary."""
    import segrid
    from segrid._native import _core, openmp_runtimes

    segmenter = choice.segmenter()
    return {
        "segrid": segrid.__version__,
        "build": _core.build_info(),
        "cpu": _core.cpu_model(),
        "cpu features": {k: v for k, v in _core.cpu_features().items()},
        "cpu masked": _core.cpu_mask(),
        "kernels": {c["op"]: c["chosen"] for c in _core.kernel_choices()},
        "kernels available": {c["op"]: c["available"] for c in _core.kernel_choices()},
        "threads": segrid.threads(),
        "product rate (GFLOP/s)": {
            p: round(_core.product_rate(p)) for p in ("fp32", "bf16", "int8")
        },
        "cpus available": _core.available_cpus(),
        "openmp": openmp_runtimes(),
        "cuda": _cuda(),
        "model": {
            "name": choice.model,
            "family": segmenter.family,
            "precision": segmenter.precision,
            "device": segmenter.device,
            "recommended": segmenter.recommended,
        },
    }


def _cuda() -> str:
    """Returns the first CUDA device, or the reason why there is none."""
    from segrid._native import _core

    try:
        return _core.resolve_device("cuda")
    except NotImplementedError as error:
        reason = str(error).removeprefix("device='cuda': ").rsplit("; use ", 1)[0]
        return f"none: {reason}"


def run(choice: ModelChoice, *, as_json: bool) -> None:
    """Prints the information. Exits with 2 if the model cannot be loaded."""
    with exit_on_error():
        found = collect(choice)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    console = Console()
    for key, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(
                f"{k} {'/'.join(v) if isinstance(v, list) else v}" for k, v in value.items()
            )
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        console.print(f"[bold]{key}[/bold]: {printable(value)}", highlight=False, soft_wrap=True)
