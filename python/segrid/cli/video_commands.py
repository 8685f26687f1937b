"""The options of the command for videos: track."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from segrid.cli.choice import TRACKER
from segrid.cli.options import Device, Json, Precision, Threads, given, named, refuse_without_effect


def track(
    context: typer.Context,
    video: Annotated[str, typer.Argument(help="Video file, or folder of numbered frames.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for the results and the state, from which the same command resumes a run "
            "that was stopped.",
        ),
    ] = Path("segrid-out"),
    point: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="X,Y",
            help="An object by a click in it, in pixels; may be repeated. '320,240 400,90,0' are "
            "two clicks for one object, the second on what does not belong to it.",
        ),
    ] = None,
    box: Annotated[
        Optional[list[str]],
        typer.Option(metavar="X0,Y0,X1,Y1", help="An object by its box; may be repeated."),
    ] = None,
    prompt: Annotated[
        Optional[list[str]], typer.Option(help="Objects to look for; may be repeated.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Follow all that segment everything finds.")
    ] = False,
    frame: Annotated[
        int,
        typer.Option(
            min=0,
            help="The frame of the points, boxes or first detection; objects are followed from it "
            "to the end.",
        ),
    ] = 0,
    every: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="Look for --prompt in every which frame; default: in the first one alone."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Tracker: packaged model, model folder or Hugging Face id of a SAM 2."),
    ] = TRACKER,
    detector: Annotated[
        str, typer.Option(help="Detector for --prompt: packaged model, folder or Hugging Face id.")
    ] = "tiny-detector",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    threshold: Annotated[
        float, typer.Option(help="Keep detections whose score is above this value.")
    ] = 0.1,
    nms: Annotated[
        float, typer.Option(help="IoU above which the worse of two boxes of a prompt is dropped.")
    ] = 0.5,
    match_iou: Annotated[
        float,
        typer.Option(help="Mask IoU from which a detection is an object that is followed already."),
    ] = 0.5,
    max_objects: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=256,
            help="The most objects. The best masks of --everything are followed (default: 32), and "
            "the detections of --prompt with the highest scores (default: 256); a line tells how "
            "many were left out.",
        ),
    ] = None,
    long_side: Annotated[
        int, typer.Option(min=0, help="Reduce larger frames to this long side, pixels; 0: never.")
    ] = 1024,
    memory_frames: Annotated[
        Optional[int],
        typer.Option(min=1, help="Frames that are looked back at; default: the model's (7)."),
    ] = None,
    memory_pooling: Annotated[
        Optional[int],
        typer.Option(min=1, help="Keep the mean of 2 x 2 tokens of each frame (2); faster."),
    ] = None,
    json: Json = False,
) -> None:
    """Follows objects through a video. Writes a video with the objects drawn on it, a JSON file
    with the masks of each frame (COCO run lengths) and a CSV table of centroids and areas. The exit
    code is 1 if the run stopped before the end; what was done is written then, too."""
    from segrid.cli.choice import ModelChoice
    from segrid.cli.output import exit_on_error
    from segrid.cli.track import run
    from segrid.cli.track_run import TrackRequest, clicks
    from segrid.cli.track_run import box as corners

    if not prompt:
        options = ("detector", "threshold", "nms", "match_iou")
        refuse_without_effect(context, dict.fromkeys(options, "only with --prompt"))
    with exit_on_error():
        points = [clicks(text) for text in point or []]
        boxes = [corners(text) for text in box or []]
    request = TrackRequest(
        video=video,
        output=output,
        points=points,
        boxes=boxes,
        prompts=prompt or [],
        everything=everything,
        frame=frame,
        every=every,
        threshold=threshold,
        nms=nms,
        match_iou=match_iou,
        max_objects=max_objects,
        long_side=long_side or None,
        memory_frames=memory_frames,
        memory_pooling=memory_pooling,
    )
    tracker = ModelChoice(model, device, precision, threads, named=named(context, "model"))
    finder = ModelChoice(detector, device, precision, None, named=named(context, "detector"))
    raise typer.Exit(run(request, tracker, finder, as_json=json, command=partial(given, context)))
