"""`segrid bench --video`: measures the seconds per stage of following objects."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from segrid._types import JsonObject
from segrid.cli.choice import ModelChoice
from segrid.cli.output import exit_on_error, printable

DRAWN = "drawn"


@dataclass(frozen=True)
class VideoBench:
    """What to measure. video: a path, or "drawn" for a clip of 640 x 360 that is drawn."""

    video: str
    objects: int
    frames: int
    memory_frames: int | None
    image_side: int | None
    memory_pooling: int | None


def run_video(bench: VideoBench, choice: ModelChoice, *, as_json: bool) -> int:
    """Runs the command. Returns the exit code 0. Exits with 2 if something cannot be run."""
    import segrid
    from segrid._native import _core
    from segrid.measuring.product_share import product_rates, said
    from segrid.measuring.video_stages import drawn_clip, video_seconds

    console = Console(stderr=True)
    with exit_on_error():
        choice.set_threads()
        tracker = segrid.Tracker(
            choice.model,
            **choice.where,
            image_side=bench.image_side,
            memory_pooling=bench.memory_pooling,
        )
        source = drawn_clip(bench.frames + 10) if bench.video == DRAWN else bench.video
        with console.status(f"{printable(bench.video)}: {bench.frames} frames", spinner="line"):
            record = video_seconds(
                tracker,
                source,
                objects=bench.objects,
                frames=bench.frames,
                memory_frames=bench.memory_frames,
            )
        rates = product_rates(record["multiply_adds"].values())
    about = {
        "cpu": _core.cpu_model(),
        "threads": segrid.threads(),
        "precision": tracker.precision,
        "model": choice.model,
        "product_rate": rates,
    }
    if as_json:
        sys.stdout.write(json.dumps({**about, **asdict(bench), **record}, indent=2) + "\n")
        return 0
    out = Console()
    out.print(
        f"{about['cpu']}, {about['threads']} threads, {about['precision']}, "
        f"model {printable(choice.model)}" + (f"; products at most {said(rates)}" if rates else ""),
        highlight=False,
        soft_wrap=True,
    )
    out.print(_table(bench, record, rates))
    return 0


def _table(bench: VideoBench, record: JsonObject, rates: dict[str, float]) -> Table:
    from segrid.measuring.product_share import percent, share_of_rate
    from segrid.measuring.video_stages import STAGES

    memory = "" if record["memory_mb"] is None else f", {record['memory_mb']:.0f} MB"
    table = Table(
        title=f"{printable(bench.video)}: {record['objects']} objects, "
        f"{1 / record['frame']:.3g} frames/s with a full memory{memory}; first mask after "
        f"{record['first_mask']:.2f} s, first followed frame {record['first_followed']:.2f} s",
        title_justify="left",
    )
    for name in ("stage", "seconds a frame", "share", "of the product rate"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, parts in STAGES.items():
        wall = record["seconds"][stage]
        products = {part: record["multiply_adds"].get(part, {}) for part in parts}
        table.add_row(
            stage,
            f"{wall:.3f}",
            f"{100 * wall / record['frame']:.0f} %",
            percent(share_of_rate(products.values(), wall, rates)),
        )
        spent = [(part, record["worker_seconds"].get(part, 0.0)) for part in parts]
        together = max(sum(s for _, s in spent), 1e-9)
        # The stage's time, divided in proportion to the time that workers spent on each part.
        for part, s in spent:
            if s > 0:
                own = wall * s / together
                table.add_row(
                    f"  {part}",
                    f"{own:.3f}",
                    "",
                    percent(share_of_rate([products[part]], own, rates)),
                )
    table.add_row("frame", f"{record['frame']:.3f}", "100 %", "")
    return table
