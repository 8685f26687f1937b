"""`segrid batch`: folders of images, resumable."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segrid.cli.output import shown


def run(inputs: list[str], output: Path, prompts: list[str], boxes: Path | None, detector: str | None, trust: bool, conf_threshold: float, nms: float | None,
        writers: list[str], model: str, precision: str, threads: int | None, options: dict[str, Any], retry: bool, as_json: bool,
        profile: Path | None = None, engine: str = "local", workers: int | None = None, ray_address: str | None = None) -> int:
    """Returns the exit code: 0 all done, 1 an image is quarantined or the run stopped, 2 nothing could begin."""
    import segrid
    from segrid.folders.inputs import collect
    from segrid.folders.run import Job
    from segrid.folders.run import run as work

    console = Console(stderr=True)
    try:
        if threads is not None:
            segrid.set_threads(threads)
        images = collect(inputs, output)
        segmenter = segrid.Segmenter(model, precision=precision, profile=profile)
        in_flight = None
        if profile is not None:
            from segrid.tuning import read_profile

            tuned = read_profile(profile)
            in_flight = tuned["in_flight"]
            options["points_per_side"] = options.get("points_per_side") or tuned["points_per_side"]
            if threads is None:
                segrid.set_threads(tuned["threads"])
        named: dict[str, Any] = {"model": segmenter._engine.model_id, "precision": segmenter.precision}
        listed: dict[str, Any] | None = None
        machine: Any = segmenter
        if boxes is not None and (prompts or detector):
            raise ValueError("give --boxes, or a detector with what it should look for; not both")
        for name, value in (("--conf-threshold", conf_threshold), ("--nms", nms)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name}: must be from 0 to 1, got {value}")
        _try_options(segmenter, options)
        if prompts or detector:
            machine = segrid.Pipeline(detector or "tiny-detector", segmenter, trust=trust)
            options = {"threshold": conf_threshold, "nms": nms} | ({"prompts": prompts} if prompts else {})
            if isinstance(machine.detector, segrid.Detector):
                if not prompts:
                    raise ValueError(f"--detector {detector}: say what to look for with --prompt")
                machine.detector.texts_of(prompts)  # complains before the first image is read
                named |= {"detector": machine.detector._engine.model_id}
            else:
                if prompts:
                    raise ValueError(f"--detector {detector}: a TorchScript detector has classes of its own and takes no --prompt")
                named |= {"detector": hashlib.sha1(Path(str(detector)).read_bytes()).hexdigest()}
        elif boxes is not None:
            listed = _boxes(boxes)
            missing = [one.key for one in images if one.key not in listed and one.path.name not in listed]
            if missing:
                raise ValueError(f"{boxes}: no boxes for {missing[0]} (and {len(missing) - 1} more)" if len(missing) > 1 else f"{boxes}: no boxes for {missing[0]}")
            machine, options = segrid.Pipeline(None, segmenter), {}
            named |= {"boxes": listed}
        elsewhere = None
        if engine == "ray":
            from segrid.folders.on_ray import engine as on_ray

            share = max(1, segrid.threads() // workers) if workers else 1
            elsewhere = on_ray(workers or max(1, segrid.threads() // share), share, ray_address)
        elif engine != "local":
            raise ValueError(f"--engine: local or ray, got {engine!r}")
        named |= {"options": {k: v for k, v in options.items() if v is not None}}
        with _bar(console, as_json) as bar:
            task = bar.add_task("batch", total=len(images), rate="", bad=0)
            begin, count, bad = perf_counter(), 0, 0

            def each(record: dict[str, Any]) -> None:
                nonlocal count, bad
                count, bad = count + 1, bad + (record["status"] == "failed")
                bar.update(task, advance=1, rate=f"{count / (perf_counter() - begin):.1f} images/s", bad=bad)

            summary = work(Job(machine, output, writers, options, listed, in_flight), images, named, each, retry, elsewhere)
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


def _try_options(segmenter: Any, options: dict[str, Any]) -> None:
    """Raises what `everything` says of its options, before any image is set aside for them."""
    import numpy as np

    segmenter.everything(np.zeros((8, 8, 3), np.uint8), **(options | {"points_per_side": min(options.get("points_per_side") or 1, 1), "crop_n_layers": 0}))
    if options.get("points_per_side") is not None and not 1 <= options["points_per_side"] <= 500:
        raise ValueError(f"--points-per-side: must be from 1 to 500, got {options['points_per_side']}")


def _boxes(path: Path) -> dict[str, Any]:
    """{"image": [[x0, y0, x1, y1], ...]} of a JSON file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise ValueError(f'{path}: expected {{"image.png": [[x0, y0, x1, y1], ...], ...}}')
    return found


def _bar(console: Console, quiet: bool) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                    TextColumn("{task.fields[bad]} quarantined"), console=console, disable=quiet or not console.is_terminal)
