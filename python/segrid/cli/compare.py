"""`segrid compare`: compares the precisions on the user's own images."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from segrid._types import JsonObject, Options
from segrid.cli.options import PRECISIONS
from segrid.cli.output import exit_on_error, keep_inputs, printable

LEAST_SIDE = 64  # of a model's square; a memory never has as many frames
STAGES = ("encode", "decode", "scan", "filter", "total")


def split(images: list[Path], precisions: list[str]) -> tuple[list[Path], list[str]]:
    """Separates images and precisions. In `--precision fp32 bf16 int8`, the names after the first
    arrive among the images; in `--precision fp32,bf16,int8`, they are one word."""
    names = [name for text in precisions for name in text.split(",")]
    also = [p for p in images if names and str(p) in PRECISIONS and not p.exists()]
    return [p for p in images if p not in also], names + [str(p) for p in also]


def split_numbers(
    images: list[Path], memory_frames: list[int], image_sides: list[int]
) -> list[Path]:
    """Separates images and numbers in the same way: numbers of files that do not exist go to the
    lists that are not empty, small ones to memory_frames. Returns the images."""
    rest = []
    for path in images:
        number = int(str(path)) if str(path).isdecimal() and not path.exists() else -1
        into = memory_frames if number < LEAST_SIDE else image_sides
        if number < 0 or not into:
            rest.append(path)
        else:
            into.append(number)
    return rest


def run(
    images: list[Path],
    precisions: list[str],
    labels: Path | None,
    output: Path,
    model: str,
    device: str,
    threads: int | None,
    options: Options,
    as_json: bool,
) -> int:
    """Runs the command. Returns the exit code 0. Exits with 2 if nothing can be compared."""
    from segrid.measuring.comparison import compare

    console = Console(stderr=True)
    with exit_on_error(RuntimeError):
        _check_picture(output, images)
        with console.status("starting", spinner="line") as status:
            found = compare(
                images,
                model=model,
                precisions=precisions,
                labels=labels,
                device=device,
                threads=threads,
                progress=lambda at: status.update(
                    f"{at['precision']}: image {at['done'] + 1} of {at['total']}, "
                    f"{printable(Path(at['image']).name)}"
                ),
                **options,
            )
        drawn = found.picture(output)
    if as_json:
        worst = found.worst and {
            "precision": found.worst[0],
            "image": found.worst[1],
            "iou": found.worst[2],
            "picture": str(output),
        }
        sys.stdout.write(
            json.dumps(
                {
                    "model": found.model,
                    "images": found.images,
                    "results": [_finite(dataclasses.asdict(r)) for r in found.results],
                    "refused": found.refused,
                    "worst": worst,
                },
                indent=2,
            )
            + "\n"
        )
        return 0
    out = Console()
    count = f"{len(found.images)} image{'s' if len(found.images) > 1 else ''}"
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{count}, model {printable(model)}; masks against those of "
        f"{found.results[0].precision}",
        title_justify="left",
    )
    table.add_column("")
    for r in found.results:
        table.add_column(r.precision, justify="right")
    for name, cell in _rows(found.results[0].ap50 is not None):
        table.add_row(name, *(cell(r) for r in found.results))
    out.print(table)
    for precision, why in found.refused.items():
        out.print(f"  {precision}: {printable(why)}", highlight=False, soft_wrap=True)
    if drawn:
        out.print(f"  worst difference: {printable(output)}", highlight=False, soft_wrap=True)
    return 0


def _check_picture(output: Path, images: list[Path]) -> None:
    """Raises ValueError naming -o where no picture can be written there, or where it would replace
    one of the images."""
    from PIL import Image

    if output.suffix.lower() not in Image.registered_extensions() or output.is_dir():
        raise ValueError(f"-o {output}: is no picture; give a file such as worst.png")
    keep_inputs(images, [output])
    output.parent.mkdir(parents=True, exist_ok=True)


def _rows(with_labels: bool) -> list[tuple[str, Any]]:
    def megabytes(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}"

    rows: list[tuple[str, Any]] = [
        (f"{stage}, s an image", lambda r, s=stage: f"{r.seconds.get(s, 0.0):.3f}")
        for stage in STAGES
    ]
    rows += [
        ("weights, MB", lambda r: megabytes(r.weights_mb)),
        ("above them, MB", lambda r: megabytes(r.working_mb)),
        ("masks", lambda r: str(r.masks)),
        ("matched IoU, mean", lambda r: f"{r.iou_mean:.4f}"),
        ("matched IoU, least", lambda r: f"{r.iou_min:.3f}"),
        ("lost / new", lambda r: f"{r.lost} / {r.new}"),
    ]
    return [*rows, ("AP50", lambda r: f"{r.ap50:.4f}")] if with_labels else rows


def _finite(facts: JsonObject) -> JsonObject:
    """JSON has no NaN: a mean of no masks is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in facts.items()
    }
