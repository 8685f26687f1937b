"""The commands for single images, everything and detect: their options."""

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
        Optional[int], typer.Option(help="About this many points instead.")
    ] = None,
    pred_iou_thresh: Annotated[
        Optional[float], typer.Option(help="Default: the model's recommended value.")
    ] = None,
    stability_score_thresh: Annotated[
        Optional[float], typer.Option(help="Default: the model's recommended value.")
    ] = None,
    containment_thresh: Annotated[
        Optional[float], typer.Option(help="Default: the model's recommended value.")
    ] = None,
    crop_n_layers: Annotated[
        str, typer.Option(metavar="auto|INTEGER", parser=layers, help=CROP_HELP)
    ] = "auto",
    min_area_frac: Annotated[
        float, typer.Option(help="Least share of the image a mask covers.")
    ] = 0.0,
    max_masks: Annotated[Optional[int], typer.Option(help="At most this many masks.")] = None,
    trace: Annotated[
        Optional[Path],
        typer.Option(
            help="Write what each worker did when, for chrome://tracing or ui.perfetto.dev."
        ),
    ] = None,
    lenient: Lenient = False,
    json: Json = False,
) -> None:
    """Segment everything: an overlay PNG, a 16-bit label PNG and a COCO JSON per image. Exit code 1
    when an image failed.
    """
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
    prompt: Annotated[list[str], typer.Option(help="What to look for; once for each thing.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "segrid-out"
    ),
    model: Annotated[
        str, typer.Option(help="Detector: packaged model, model folder or Hugging Face id.")
    ] = "tiny-detector",
    segmenter: Annotated[
        str,
        typer.Option(
            help="Makes masks of the boxes: packaged model, model folder or Hugging Face id."
        ),
    ] = "tiny",
    masks: Annotated[bool, typer.Option(help="Masks as well as boxes.")] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    threshold: Annotated[float, typer.Option(help="Scores are above it.")] = 0.1,
    nms: Annotated[
        Optional[float],
        typer.Option(
            help="Of two boxes of one prompt with a larger IoU the better one stays; default: all "
            "stay."
        ),
    ] = None,
    lenient: Lenient = False,
    json: Json = False,
) -> None:
    """Words to boxes and masks: a picture and a COCO JSON per image. Exit code 1 when an image
    failed.
    """
    from segrid.cli.choice import ModelChoice
    from segrid.cli.detect import run

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
