"""`segrid track`: follows objects through a video, and can be resumed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from segrid._types import JsonObject
from segrid.cli.choice import MADE_FOR, ModelChoice, advise
from segrid.cli.frame_progress import FrameProgress
from segrid.cli.output import CANNOT_BEGIN, exit_on_error, printable
from segrid.cli.track_run import TrackRequest, TrackRun, outcome


def run(
    request: TrackRequest,
    tracker: ModelChoice,
    detector: ModelChoice,
    *,
    as_json: bool,
    command: Callable[[str], list[str]],
) -> int:
    """Runs the command.

    Returns the exit code: 0, or 1 if the run stopped before the end of the video. Exits with 2 if
    it cannot begin."""
    import segrid
    from segrid.video.frames import FrameNotFound

    console = Console(stderr=True)
    stopped = ""
    with FrameProgress(console, quiet=as_json) as progress, exit_on_error(FrameNotFound):
        request.check()
        tracker.set_threads()
        found = segrid.Detector(detector.model, **detector.where) if request.prompts else None
        if found is not None:
            found.texts_of(request.prompts)
        pooling = request.memory_pooling
        follower = segrid.Tracker(tracker.model, memory_pooling=pooling, **tracker.where)
        followed = TrackRun(request, follower, found)
        try:
            progress.begin(followed.done, followed.total)
            begin = perf_counter()
            try:
                for objects in followed.follow():
                    progress.show(followed.done, followed.total, objects)
            except KeyboardInterrupt:
                stopped = "interrupted; the same command goes on from here"
            except CANNOT_BEGIN as error:  # such as a damaged frame
                before = ". The results hold the frames before it" if followed.done else ""
                stopped = f"{error}{before}"
            seconds = perf_counter() - begin
            if stopped:
                followed.snapshot()
            files = followed.write()
            record = outcome(followed, files, seconds, stopped)
            if not stopped:
                followed.finished()
        finally:
            followed.close()
    if as_json:
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    else:
        _report(record, Console())
    choices = [("--model", tracker)] + ([("--detector", detector)] if request.prompts else [])
    unnamed = {
        option: choice.model
        for option, choice in choices
        if not choice.named and choice.model in MADE_FOR
    }
    advise(console, unnamed, command(request.video))
    return 1 if stopped else 0


def _report(record: JsonObject, console: Console) -> None:
    whole = "" if record["total"] is None else f" of {record['total']}"
    before = f" ({record['earlier']} earlier)" if record["earlier"] else ""
    rate = record["frames_per_second"]
    table = Table(
        title=f"track: {record['frames']}{whole} frames{before}"
        + (f", {rate:.3g} frames/s" if rate else ""),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("object", "name", "frames"):
        table.add_column(name, justify="left" if name == "name" else "right")
    for one in record["objects"]:
        table.add_row(str(one["id"]), printable(one["name"] or ""), str(one["frames"]))
    console.print(table)
    if record["left_out"]:
        most = len(record["objects"])
        console.print(
            f"  detections left out: {record['left_out']}, for which --max-objects {most} has no "
            "room",
            highlight=False,
            soft_wrap=True,
        )
    for kind, path in record["files"].items():
        console.print(f"  {kind:8} {printable(path)}", highlight=False, soft_wrap=True)
    if record["stopped"]:
        console.print(
            f"[red]stopped[/red] {printable(record['stopped'])}",
            highlight=False,
            soft_wrap=True,
        )
