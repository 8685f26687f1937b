"""`segrid bench`: measures the seconds per stage on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from segrid._types import JsonObject
from segrid.cli.choice import ModelChoice
from segrid.cli.output import exit_on_error, printable


def run(
    images: list[Path], choice: ModelChoice, points_per_side: int, repeat: int, *, as_json: bool
) -> int:
    """Runs the command. Returns the exit code 0. Exits with 2 if something cannot be run."""
    import segrid
    from segrid._image import to_image
    from segrid._native import _core
    from segrid.measuring.product_share import product_rates, said
    from segrid.measuring.stages import drawn_picture, stage_seconds

    console = Console(stderr=True)
    with exit_on_error():
        segmenter = choice.segmenter()
        pixels = [(path.name, to_image(path)) for path in images] or [
            ("drawn, 1800 x 1200", to_image(drawn_picture()))
        ]
        records = []
        for name, image in pixels:
            with console.status(f"{printable(name)}: {repeat + 1} runs", spinner="line"):
                records.append(
                    {
                        "image": name,
                        "points": points_per_side**2,
                        **stage_seconds(segmenter, image, points_per_side, repeat),
                    }
                )
        rates = product_rates(p for r in records for p in r["multiply_adds"].values())
    about = {
        "cpu": _core.cpu_model(),
        "threads": segrid.threads(),
        "precision": segmenter.precision,
        "model": choice.model,
        "kernels": {c["op"]: c["chosen"] for c in _core.kernel_choices()},
        "product_rate": rates,
    }
    if as_json:
        sys.stdout.write(json.dumps({**about, "runs": records}, indent=2) + "\n")
        return 0
    out = Console()
    out.print(
        f"{about['cpu']}, {about['threads']} threads, {about['precision']}, "
        f"model {printable(choice.model)}" + (f"; products at most {said(rates)}" if rates else ""),
        highlight=False,
        soft_wrap=True,
    )
    for record in records:
        out.print(_table(record, rates))
    return 0


def sweep(
    image: Path, counts: list[int], choice: ModelChoice, repeat: int, *, as_json: bool
) -> int:
    """Measures the prompt batch alone. Returns the exit code 0. Exits with 2 if nothing can be
    run."""
    import segrid
    from segrid.measuring.prompt_sweep import fastest, sweep_prompts

    console = Console(stderr=True)
    with exit_on_error():
        segmenter = choice.segmenter()
        with console.status(f"{printable(str(image))}: {len(counts)} batches", spinner="line"):
            rows = sweep_prompts(segmenter, image, counts, repeat)
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        return 0
    best = fastest(rows)
    table = Table(
        title=f"{printable(str(image))}: boxes to masks, {segrid.threads()} threads, "
        f"{segmenter.precision}, model {printable(choice.model)}",
        title_justify="left",
    )
    on_device = any(row.device_mb is not None for row in rows)
    device_column = ("MB of the device",) if on_device else ()
    for name in ("boxes a call", "ms", "ms a box", "boxes/s", "MB", *device_column, ""):
        table.add_column(name, justify="right")
    for row in rows:
        if row.seconds is None:
            table.add_row(str(row.boxes), row.error)
            continue
        memory = "" if row.memory_mb is None else f"{row.memory_mb:.0f}"
        table.add_row(
            str(row.boxes),
            f"{1e3 * row.seconds:.1f}",
            f"{1e3 * row.seconds / row.boxes:.2f}",
            f"{row.boxes_per_second:.0f}",
            memory,
            *([f"{row.device_mb:.0f}"] if row.device_mb is not None else []),
            f"out of memory: {row.at_once} at once"
            if row.ran_out
            else "fastest"
            if row is best
            else "",
        )
    Console().print(table)
    return 0


def _table(record: JsonObject, rates: dict[str, float]) -> Table:
    from segrid.measuring.product_share import percent, share_of_rate
    from segrid.measuring.stages import PARTS, STAGES

    table = Table(
        title=f"{printable(record['image'])}: {record['objects']} objects from {record['points']} "
        f"points, peak {record['peak_memory_mb']:.0f} MB",
        title_justify="left",
    )
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    table.add_column("ms a point", justify="right")
    table.add_column("of the product rate", justify="right")
    seconds, workers = record["seconds"], record["worker_seconds"]
    for stage in STAGES:
        wall = seconds[stage]
        per_point = f"{1e3 * wall / record['points']:.2f}" if stage in ("decode", "scan") else ""
        products = {p: record["multiply_adds"].get(p, {}) for p in PARTS.get(stage, ())}
        table.add_row(
            stage,
            f"{wall:.3f}",
            f"{100 * wall / max(seconds['total'], 1e-9):.0f} %",
            per_point,
            percent(share_of_rate(products.values(), wall, rates)),
        )
        parts = [(p, workers[p]) for p in PARTS.get(stage, ()) if p in workers]
        together = sum(s for _, s in parts)
        # The stage's wall-clock time, divided in proportion to the time that workers spent on each
        # part.
        for part, spent in parts:
            own = wall * spent / together
            share = percent(share_of_rate([products[part]], own, rates))
            table.add_row(f"  {part}", f"{own:.3f}", "", "", share)
    return table
