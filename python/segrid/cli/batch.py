"""`segrid batch`: folders of images, resumable."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segrid.cli.output import shown


def run(inputs: list[str], output: Path, asked: dict[str, Any], writers: list[str], model: str, device: str, precision: str, threads: int | None,
        options: dict[str, Any], image_batch_size: int | None, io_workers: int | None, retry: bool, as_json: bool, profile: Path | None = None,
        engine: str = "local", workers: int | None = None, ray_address: str | None = None) -> int:
    """asked: as `segrid.folders.machine.Asked`. Returns the exit code: 0 all done, 1 an image is quarantined or the run stopped, 2 nothing could begin."""
    import segrid
    from segrid.folders.inputs import collect
    from segrid.folders.machine import Asked, machine
    from segrid.folders.run import Job
    from segrid.folders.run import run as work

    console = Console(stderr=True)
    try:
        if threads is not None:
            segrid.set_threads(threads)
        images = collect(inputs, output)
        segmenter = segrid.Segmenter(model, device=device, precision=precision, profile=profile)
        if profile is not None:
            from segrid.tuning import read_profile

            tuned = read_profile(profile)
            image_batch_size = image_batch_size or min(tuned["in_flight"], threads or tuned["threads"])
            options["points_per_side"] = options.get("points_per_side") or tuned["points_per_side"]
            if threads is None:
                segrid.set_threads(tuned["threads"])
        made = machine(segmenter, Asked(**asked, device=device, precision=precision), images, options)
        images = made.images
        elsewhere = None
        if engine == "ray":
            from segrid.folders.on_ray import engine as on_ray

            share = max(1, segrid.threads() // workers) if workers else 1
            elsewhere = on_ray(workers or max(1, segrid.threads() // share), share, ray_address)
        elif engine != "local":
            raise ValueError(f"--engine: local or ray, got {engine!r}")
        named = {"model": segmenter._engine.model_id, "precision": segmenter.precision} | made.named
        job = Job(made.model, output, writers, made.options, made.boxes, {"image_batch_size": image_batch_size, "io_workers": io_workers},
                  made.rules)
        with _bar(console, as_json) as bar:
            task = bar.add_task("batch", total=len(images), rate="", bad=0)
            begin, count, bad = perf_counter(), 0, 0

            def each(record: dict[str, Any]) -> None:
                nonlocal count, bad
                count, bad = count + 1, bad + (record["status"] == "failed")
                bar.update(task, advance=1, rate=f"{count / (perf_counter() - begin):.1f} images/s", bad=bad)

            summary = work(job, images, named, each, retry, elsewhere)
    except BlockingIOError:
        console.print(f"[red]error:[/red] {shown(output)}: another run is writing there", highlight=False)
        return 2
    except (ValueError, OSError, NotImplementedError, MemoryError) as error:
        console.print(f"[red]error:[/red] {shown(error)}", highlight=False)
        return 2
    if as_json:
        sys.stdout.write(json.dumps({"images": len(images), "done": summary.done, "skipped": summary.skipped, "quarantined": dict(summary.failed),
                                     "stopped": summary.stopped}, indent=2) + "\n")
    else:
        out = Console()
        out.print(f"{summary.done} of {len(images)} images done, {len(summary.failed)} quarantined ({summary.skipped} of them by earlier runs): {shown(output)}",
                  highlight=False)
        for name, why in summary.failed[:20]:
            out.print(f"[red]quarantined[/red] {shown(name)}: {shown(why)}", highlight=False, soft_wrap=True)
        if summary.stopped:
            out.print(f"[red]stopped[/red] {shown(summary.stopped)}; the same command goes on from here", highlight=False, soft_wrap=True)
    return 1 if summary.failed or summary.stopped else 0


def _bar(console: Console, quiet: bool) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                    TextColumn("{task.fields[bad]} quarantined"), console=console, disable=quiet or not console.is_terminal)
