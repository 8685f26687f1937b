"""The options of the commands for single images: everything and detect."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from segrid.cli.options import (
    CROP_HELP,
    Device,
    Json,
    Lenient,
    Model,
    Precision,
    Threads,
    given,
    layers,
    named,
    refuse_without_effect,
)


def everything(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "segrid-out"
    ),
    model: Model = "tiny",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    points_per_side: Annotated[
        Optional[int], typer.Option(help="Points along each side of the grid (default 32).")
    ] = None,
    target_points: Annotated[
        Optional[int],
        typer.Option(help="Approximate number of points, instead of --points-per-side."),
    ] = None,
    pred_iou_thresh: Annotated[
        Optional[float],
        typer.Option(
            help="The least predicted IoU of a mask; default: the model's recommended value."
        ),
    ] = None,
    stability_score_thresh: Annotated[
        Optional[float],
        typer.Option(
            help="The least stability score of a mask; default: the model's recommended value."
        ),
    ] = None,
    containment_thresh: Annotated[
        Optional[float],
        typer.Option(
            help="Drop a mask whose intersection with a better one, over the smaller area, is "
            "above this value; default: the model's recommended value."
        ),
    ] = None,
    crop_n_layers: Annotated[
        str, typer.Option(metavar="auto|INTEGER", parser=layers, help=CROP_HELP)
    ] = "auto",
    min_area_frac: Annotated[
        float, typer.Option(help="The least share of the image that a mask must cover.")
    ] = 0.0,
    max_masks: Annotated[
        Optional[int], typer.Option(help="The most masks to keep, by predicted IoU.")
    ] = None,
    trace: Annotated[
        Optional[Path],
        typer.Option(
            help="Write a trace of each worker's steps, for chrome://tracing or ui.perfetto.dev."
        ),
    ] = None,
    lenient: Lenient = False,
    json: Json = False,
) -> None:
    """Segments everything in each image. Writes an overlay PNG, a 16-bit label PNG and a COCO JSON
    per image. The exit code is 1 if an image failed."""
    from segrid.cli.choice import ModelChoice
    from segrid.cli.everything import run

    options = {
        "points_per_side": points_per_side,
        "target_points": target_points,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "containment_thresh": containment_thresh,
        "crop_n_layers": crop_n_layers,
        "min_area_frac": min_area_frac,
        "max_masks": max_masks,
    }
    choice = ModelChoice(model, device, precision, threads, named=named(context, "model"))
    raise typer.Exit(
        run(
            images,
            output,
            choice,
            options,
            lenient=lenient,
            as_json=json,
            trace=trace,
            command=partial(given, context),
        )
    )


def detect(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    prompt: Annotated[list[str], typer.Option(help="An object to look for; may be repeated.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "segrid-out"
    ),
    model: Annotated[
        str, typer.Option(help="Detector: packaged model, model folder or Hugging Face id.")
    ] = "tiny-detector",
    segmenter: Annotated[
        str,
        typer.Option(
            help="Segmenter for the boxes: packaged model, model folder or Hugging Face id."
        ),
    ] = "tiny",
    masks: Annotated[bool, typer.Option(help="Whether to make masks of the boxes.")] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    threshold: Annotated[
        float, typer.Option(help="Keep detections whose score is above this value.")
    ] = 0.1,
    nms: Annotated[
        Optional[float],
        typer.Option(
            help="IoU above which the worse of two boxes of one prompt is dropped; default: keep "
            "all."
        ),
    ] = None,
    lenient: Lenient = False,
    json: Json = False,
) -> None:
    """Finds the objects that words name, as boxes and masks. Writes a picture and a COCO JSON per
    image. The exit code is 1 if an image failed."""
    from segrid.cli.choice import ModelChoice
    from segrid.cli.detect import run

    if not masks:
        refuse_without_effect(
            context, {"segmenter": "only where masks are made; not with --no-masks"}
        )
    detector = ModelChoice(model, device, precision, threads, named=named(context, "model"))
    masked = ModelChoice(segmenter, device, precision, None, named=named(context, "segmenter"))
    options = {"threshold": threshold, "nms": nms}
    raise typer.Exit(
        run(
            images,
            prompt,
            output,
            detector,
            masked if masks else None,
            options,
            lenient=lenient,
            as_json=json,
            command=partial(given, context),
        )
    )
