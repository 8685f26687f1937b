"""`segrid everything`: takes images, writes pictures and COCO JSON."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from segrid._files import write_text
from segrid._types import JsonObject, Options
from segrid.cli.choice import ModelChoice, advise
from segrid.cli.output import (
    Item,
    exit_on_error,
    failure,
    items,
    keep_inputs,
    printable,
    progress_bar,
    show_outcome,
)

ENDINGS = {"overlay": "_overlay.png", "labels": "_labels.png", "coco": "_coco.json"}
STAGES = ("read", "resize", "encode", "decode", "scan", "filter", "write")


def run(
    images: list[Path],
    output: Path,
    choice: ModelChoice,
    options: Options,
    *,
    lenient: bool,
    as_json: bool,
    trace: Path | None = None,
    command: Callable[[str], list[str]],
) -> int:
    """Runs the command.

    command : returns the words of this command for an image

    Returns the exit code: 0, or 1 if an image failed. Exits with 2 if the run cannot begin."""
    import segrid

    console = Console(stderr=True)
    with exit_on_error():
        segmenter = choice.segmenter()
        segmenter.check_options(**options)
        if trace is not None and trace.is_dir():
            raise ValueError(f"--trace {trace}: is a folder; give a file such as trace.json")
        found = items(images, output)
        written = [path for item in found for path in item.files(ENDINGS).values()]
        keep_inputs(images, [*written, *([] if trace is None else [trace])])
        output.mkdir(parents=True, exist_ok=True)
        if trace is not None:
            trace.touch()
    records = []
    with (
        progress_bar(console, as_json) as bars,
        segrid.Trace(trace) if trace else contextlib.nullcontext(),
    ):
        for item in found:
            task = bars.add_task(printable(item.path.name), total=None, note="")
            try:
                progress = functools.partial(_advance, bars, task)
                record = _one(segmenter, item, options, lenient, progress)
            except Exception as error:  # an error in one image must not stop the others
                record = failure(item.path, error)
                bars.update(task, total=1, completed=0, note="failed")
            records.append(record)
    if as_json:
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    else:
        _report(records, Console())
        if trace:
            Console().print(
                f"  trace    {printable(trace)} (open it in chrome://tracing or "
                "https://ui.perfetto.dev)",
                highlight=False,
                soft_wrap=True,
            )
    if (done := next((r["image"] for r in records if "error" not in r), None)) is not None:
        advise(console, {} if choice.named else {"--model": choice.model}, command(done))
    return 1 if any("error" in r for r in records) else 0


def _advance(bars: Progress, task: TaskID, state: JsonObject) -> None:
    note = f"{state['stage']} {state['kept']} kept"
    bars.update(task, total=state["total"], completed=state["done"], note=note)


def _one(segmenter: Any, item: Item, options: Options, lenient: bool, progress: Any) -> JsonObject:
    from time import perf_counter

    from segrid._image import to_image, write_png
    from segrid.folders.coco import of_image
    from segrid.folders.writers import SEGMENTED

    begin = perf_counter()
    pixels = to_image(item.path, lenient=lenient)
    read = perf_counter() - begin
    masks = segmenter.everything(pixels, progress=progress, **options)
    begin = perf_counter()
    files = item.files(ENDINGS)
    write_png(files["overlay"], masks.picture(pixels))
    labels = masks.label_map()
    if labels.dtype.itemsize > 2:
        raise ValueError(f"{len(masks)} masks do not fit a 16-bit label image")
    write_png(files["labels"], labels)
    write_text(files["coco"], json.dumps(of_image(masks, item.name, item.path, SEGMENTED)))
    seconds = {**masks.stats["seconds"], "read": read, "write": perf_counter() - begin}
    return {
        "image": str(item.path),
        "objects": len(masks),
        "seconds": seconds,
        "peak_memory_mb": masks.stats["peak_memory_mb"],
        "files": {k: str(v) for k, v in files.items()},
    }


def _report(records: list[JsonObject], console: Console) -> None:
    table = Table(
        title="segment everything: objects, seconds per stage, peak memory",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("image", overflow="fold")
    for column in ("objects", *STAGES, "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for r in records:
        if "error" in r:
            table.add_row(printable(Path(r["image"]).name), "[red]failed[/red]")
        else:
            table.add_row(
                printable(Path(r["image"]).name),
                str(r["objects"]),
                *(f"{r['seconds'].get(s, 0):.2f}" for s in STAGES),
                f"{r['peak_memory_mb']:.0f}",
            )
    console.print(table)
    show_outcome(records, console)
