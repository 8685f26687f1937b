"""`segrid batch`: processes folders of images, and can be resumed."""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from segrid._types import JsonObject, Options
from segrid.cli.choice import advise, set_threads
from segrid.cli.output import exit_on_error, printable

if TYPE_CHECKING:
    from segrid.folders.inputs import Input
    from segrid.folders.job_plan import JobPlan
    from segrid.folders.run import Job, RunStatus, Summary

NO_VIEW = "of no view, which will fail"
INTERRUPTED = 130  # the exit code of shells for SIGINT
LISTED = 20  # the most entries of a list that the summary shows


@dataclass
class Command:
    """The arguments of `segrid batch`; see its help.

    request : fields of `segrid.folders.job_plan.JobRequest`
    options : of segment everything
    engine, workers, ray_address : where the run takes place
    unnamed : packaged models that run because the user named no other"""

    inputs: list[str]
    output: Path
    request: Options
    writers: list[str]
    options: Options
    model: str = "tiny"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    profile: Path | None = None
    image_batch_size: int | None = None
    io_workers: int | None = None
    output_suffix: str | None = None
    exclude_suffix: list[str] = field(default_factory=list)
    skip_existing: bool = False
    dry_run: bool = False
    lenient: bool = False
    retry: bool = False
    engine: str = "local"
    workers: int | None = None
    ray_address: str | None = None
    as_json: bool = False
    unnamed: dict[str, str] = field(default_factory=dict)  # as `segrid.cli.choice.advise` takes it


def run(command: Command) -> int:
    """Runs the command. Returns the exit code: 0 if all images are done, 1 if an image is
    quarantined or the run stopped, 130 after Ctrl-C. Exits with 2 if the run cannot begin."""
    console = Console(stderr=True)
    with exit_on_error():
        with _notes(console):
            plan, job = _prepared(command)
        make_records = _records_maker(command)
        if command.dry_run:
            from segrid.folders.run import run_status

            _say_status(run_status(job, plan.images, plan.named, command.retry), plan, command)
            return 0
        try:
            summary = _done(job, plan, command, make_records, console)
        except KeyboardInterrupt:
            _say_stopped(job, plan, console)
            return INTERRUPTED
        except BlockingIOError as error:
            raise ValueError(f"{command.output}: another run is writing there") from error
    _say(summary, len(plan.images), command)
    # The folder belongs to the model that has filled it.
    if summary.done > summary.earlier:
        advise(console, command.unnamed, also="and another -o")
    return 1 if summary.failed or summary.stopped else 0


def _prepared(command: Command) -> tuple[JobPlan, Job]:
    """Collects the images and determines the job. Raises before the first image is read."""
    import segrid
    from segrid.folders.job_plan import JobRequest, errors_name_option, plan_job
    from segrid.folders.run import Job, check_output

    check_output(command.writers, command.output_suffix)
    images = _images(command)
    threads, batch, options = command.threads, command.image_batch_size, dict(command.options)
    set_threads(threads)
    tuned = None
    if command.profile is not None:
        from segrid.profile import read_profile

        with errors_name_option("--profile"):
            tuned = read_profile(command.profile)
    segmenter = segrid.Segmenter(
        command.model, device=command.device, precision=command.precision, profile=command.profile
    )
    if tuned is not None:
        batch = batch or min(tuned["in_flight"], threads or tuned["threads"])
        options["points_per_side"] = options.get("points_per_side") or tuned["points_per_side"]
        if threads is None:
            segrid.set_threads(tuned["threads"])
    request = JobRequest(**command.request, device=command.device, precision=command.precision)
    plan = plan_job(segmenter, request, images, options)
    plan.named = {
        "model": segmenter.model_id,
        "precision": segmenter.precision,
    } | plan.named
    job = Job(
        model=plan.model,
        folder=command.output,
        writers=command.writers,
        options=plan.options,
        boxes=plan.boxes,
        limits={"image_batch_size": batch, "io_workers": command.io_workers},
        rules=plan.rules,
        classes=plan.classes,
        suffix=command.output_suffix,
        lenient=command.lenient,
        skip_existing=command.skip_existing,
    )
    return plan, job


def _images(command: Command) -> list[Input]:
    from segrid.folders.inputs import collect
    from segrid.folders.writers import WRITERS

    excluded = list(command.exclude_suffix)
    if "" in excluded:
        raise ValueError(
            "--exclude-suffix: an empty text ends every name; expected one such as _mask"
        )
    if command.output_suffix is not None:
        excluded.append(command.output_suffix)
    kinds = {WRITERS[name].kind for name in command.writers}
    return collect(command.inputs, command.output, kinds=kinds, exclude=excluded)


def _records_maker(command: Command) -> Any:
    """Returns the function that makes the records, as `segrid.folders.run.run` takes it; None: this
    process makes them."""
    if command.engine == "local":
        return None
    import segrid

    if command.engine == "processes":
        from segrid.folders.on_processes import count_gpus, process_records

        workers = command.workers or max(1, count_gpus())
        return process_records(workers, max(1, segrid.threads() // workers))
    if command.engine != "ray":
        raise ValueError(f"--engine: must be local, processes or ray, got {command.engine!r}")
    from segrid.folders.on_ray import ray_records

    share = max(1, segrid.threads() // command.workers) if command.workers else 1
    return ray_records(
        command.workers or max(1, segrid.threads() // share), share, command.ray_address
    )


def _done(
    job: Job, plan: JobPlan, command: Command, make_records: Any, console: Console
) -> Summary:
    """Runs the job with a progress bar of this run."""
    from segrid.folders.run import run as run_job

    with _bar(console, quiet=command.as_json) as bar:
        task = bar.add_task("batch", total=len(plan.images), rate="", bad=0)
        begin, count, bad = perf_counter(), 0, 0

        def each(record: JsonObject) -> None:
            nonlocal count, bad
            count, bad = count + 1, bad + (record["status"] == "failed")
            rate = f"{count / (perf_counter() - begin):.1f} images/s"
            bar.update(task, advance=1, rate=rate, bad=bad)

        def show_status(status: RunStatus) -> None:
            bar.update(task, completed=len(status.done) + len(status.failed))

        return run_job(job, plan.images, plan.named, each, command.retry, make_records, show_status)


def _say_status(status: RunStatus, plan: JobPlan, command: Command) -> None:
    """Prints what the run would do, for each view if there are views."""
    counts = {
        "images": len(plan.images),
        "done": len(status.done),
        "quarantined": len(status.failed),
        "todo": len(status.todo),
    }
    views = {}
    for view in plan.view_of and [*plan.model.views, NO_VIEW]:
        views[view] = {
            name: Counter(plan.view_of.get(one.key, NO_VIEW) for one in images)[view]
            for name, images in (
                ("images", plan.images),
                ("done", status.done),
                ("quarantined", status.failed),
                ("todo", status.todo),
            )
        }
    if views and not views[NO_VIEW]["images"]:
        del views[NO_VIEW]
    if command.as_json:
        sys.stdout.write(json.dumps(counts | ({"views": views} if views else {}), indent=2) + "\n")
        return
    out = Console()
    out.print(
        f"dry run, nothing is written: {_counts(counts)}: {printable(command.output)}",
        highlight=False,
        soft_wrap=True,
    )
    for view, of in views.items():
        out.print(f"  {printable(view)}: {_counts(of)}", highlight=False, soft_wrap=True)


def _counts(of: dict[str, int]) -> str:
    return (
        f"{of['images']} images, {of['done']} done already, {of['quarantined']} quarantined, "
        f"{of['todo']} to do"
    )


def _say_stopped(job: Job, plan: JobPlan, console: Console) -> None:
    from segrid.folders.run import run_status

    done = len(run_status(job, plan.images, plan.named).done)
    console.print(
        f"stopped: {done} of {len(plan.images)} images are done; the same command goes on",
        highlight=False,
        soft_wrap=True,
    )


def _say(summary: Summary, images: int, command: Command) -> None:
    if command.as_json:
        found = {
            "images": images,
            "done": summary.done,
            "skipped": summary.skipped,
            "earlier": summary.earlier,
            "quarantined": dict(summary.failed),
            "notes": [{"image": name, "note": note} for name, note in summary.notes],
            "stopped": summary.stopped,
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    out = Console()
    before = summary.skipped - summary.earlier
    out.print(
        f"{summary.done} of {images} images done"
        + _earlier(summary.earlier)
        + f", {len(summary.failed)} quarantined"
        + _earlier(before)
        + f": {printable(command.output)}",
        highlight=False,
        soft_wrap=True,
    )
    for kind, lines in (("[red]quarantined[/red]", summary.failed), ("note", summary.notes)):
        for name, text in lines[:LISTED]:
            out.print(
                f"{kind} {printable(name)}: {printable(text)}",
                highlight=False,
                soft_wrap=True,
            )
        if len(lines) > LISTED:
            out.print(
                f"{kind} and {len(lines) - LISTED} more: see manifest.jsonl there",
                highlight=False,
                soft_wrap=True,
            )
    if summary.stopped:
        out.print(
            f"[red]stopped[/red] {printable(summary.stopped)}; the same command goes on from here",
            highlight=False,
            soft_wrap=True,
        )


def _earlier(count: int) -> str:
    return f" ({count} earlier)" if count else ""


@contextmanager
def _notes(console: Console) -> Iterator[None]:
    """Prints the warnings that occur while inputs are collected, one line each."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for one in found:
                console.print(f"note: {printable(one.message)}", highlight=False, soft_wrap=True)


def _bar(console: Console, *, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]} quarantined"),
        console=console,
        disable=quiet or not console.is_terminal,
    )
