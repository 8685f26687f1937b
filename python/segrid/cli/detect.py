"""`segrid detect`: takes images and words, writes pictures and COCO JSON with masks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
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

ENDINGS = {"picture": "_detections.png", "coco": "_coco.json"}


def run(
    images: list[Path],
    prompts: list[str],
    output: Path,
    detector: ModelChoice,
    segmenter: ModelChoice | None,
    options: Options,
    *,
    lenient: bool,
    as_json: bool,
    command: Callable[[str], list[str]],
) -> int:
    """Runs the command.

    segmenter : makes the masks; None: boxes only
    options : threshold and nms
    command : returns the words of this command for an image

    Returns the exit code: 0, or 1 if an image failed. Exits with 2 if the run cannot begin."""
    import segrid
    from segrid.detector import check_thresholds

    console = Console(stderr=True)
    with exit_on_error():
        check_thresholds(**options)
        detector.set_threads()
        loaded = segrid.Detector(detector.model, **detector.where)
        # Raises before the first image is read.
        loaded.texts_of(prompts)
        find: Any = (
            loaded.detect if segmenter is None else segrid.Pipeline(loaded, segmenter.segmenter())
        )
        found = items(images, output)
        keep_inputs(images, [path for item in found for path in item.files(ENDINGS).values()])
        output.mkdir(parents=True, exist_ok=True)
    records = []
    with progress_bar(console, as_json) as bars:
        task = bars.add_task("detect", total=len(images), note="")
        for item in found:
            try:
                record = _one(find, item, prompts, options, lenient)
            except Exception as error:  # an error in one image must not stop the others
                record = failure(item.path, error)
            records.append(record)
            bars.update(task, advance=1, note=printable(item.path.name))
    if as_json:
        sys.stdout.write(json.dumps(records, indent=2) + "\n")
    else:
        _report(records, prompts, Console())
    unnamed = {
        option: choice.model
        for option, choice in (("--model", detector), ("--segmenter", segmenter))
        if choice is not None and not choice.named
    }
    if (done := next((r["image"] for r in records if "error" not in r), None)) is not None:
        advise(console, unnamed, command(done))
    return 1 if any("error" in r for r in records) else 0


def _one(find: Any, item: Item, prompts: list[str], options: Options, lenient: bool) -> JsonObject:
    from time import perf_counter

    from segrid._image import to_image, write_png
    from segrid.folders.classes import classes_of
    from segrid.folders.coco import of_image

    begin = perf_counter()
    pixels = to_image(item.path, lenient=lenient)
    found = find(pixels, prompts, **options)
    seconds = perf_counter() - begin
    files = item.files(ENDINGS)
    write_png(files["picture"], found.picture(pixels))
    coco = of_image(found, item.name, item.path, classes_of(prompts))
    write_text(files["coco"], json.dumps(coco))
    return {
        "image": str(item.path),
        "found": [int((found.class_id == i).sum()) for i in range(len(prompts))],
        "best": float(found.scores[0]) if len(found) else None,
        "seconds": seconds,
        "files": {k: str(v) for k, v in files.items()},
    }


def _report(records: list[JsonObject], prompts: list[str], console: Console) -> None:
    table = Table(
        title="detect: boxes for each prompt, the best score, seconds (with reading)",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("image", overflow="fold")
    for prompt in prompts:
        table.add_column(printable(prompt), justify="right")
    table.add_column("best", justify="right")
    table.add_column("s", justify="right")
    for r in records:
        name = printable(Path(r["image"]).name)
        if "error" in r:
            table.add_row(name, "[red]failed[/red]")
        else:
            table.add_row(
                name,
                *map(str, r["found"]),
                "-" if r["best"] is None else f"{r['best']:.2f}",
                f"{r['seconds']:.2f}",
            )
    console.print(table)
    show_outcome(records, console)
