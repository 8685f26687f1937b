"""The options of the commands for folders of images: batch and tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from segrid.cli.options import (
    Device,
    Json,
    Model,
    Precision,
    Threads,
    layers,
    named,
    names,
    numbers,
    refuse_without_effect,
)

GRID = ("points_per_side", "crop_n_layers", "min_area_frac", "max_masks")
DETECTION = ("conf_threshold", "nms")


def batch(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Folders, patterns ('photos/**/*.png'), lists of paths (.txt, one path per line) "
            "and image files. Hidden files and files that segrid wrote are skipped; links to "
            "folders are followed."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for the results and the manifest, from which the same command resumes a "
            "run that was stopped. It may be the input folder, or be inside it.",
        ),
    ],
    prompt: Annotated[
        Optional[list[str]],
        typer.Option(
            help="An object to look for; may be repeated. Without --prompt, --boxes and --views, "
            "everything is segmented."
        ),
    ] = None,
    boxes: Annotated[
        Optional[Path],
        typer.Option(help='JSON file with boxes: {"image.png": [[x0, y0, x1, y1], ...], ...}.'),
    ] = None,
    detector: Annotated[
        Optional[str],
        typer.Option(help="Detector for --prompt, or a .torchscript file (with --trust)."),
    ] = None,
    views: Annotated[
        Optional[Path],
        typer.Option(
            help='JSON file with a detector for each kind of picture: {"front": {"pattern": '
            '"*_front.*", "detector": "front.torchscript"}, ...}; each may also have "prompts", '
            '"threshold" and "nms".'
        ),
    ] = None,
    view: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Process only images of this view of --views; may be repeated. If --views has one "
            "view without a pattern, all images belong to it."
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Allow a TorchScript file to run the code it contains.")
    ] = False,
    conf_threshold: Annotated[
        float, typer.Option(help="Keep detections whose score is above this value.")
    ] = 0.1,
    nms: Annotated[
        Optional[float],
        typer.Option(
            help="IoU above which the worse of two boxes of one prompt is dropped; default: keep "
            "all."
        ),
    ] = None,
    write: Annotated[
        str,
        typer.Option(
            help="Outputs, separated by commas: coco, labels, tiff, classes, overlay, objects, "
            "csv, parquet, geojson. Each has its own folder. classes is a PNG whose pixels are "
            "class numbers, and 0 outside all objects. The number of a class is its name if that "
            "is a whole number (as for teeth), else its position among the prompts or classes, "
            "from 1; classes.json lists them. Where objects overlap, the higher score wins."
        ),
    ] = "coco,labels,overlay",
    output_suffix: Annotated[
        Optional[str],
        typer.Option(
            metavar="TEXT",
            help="Ending of class PNGs, which are then written directly in the -o folder. With "
            "_mask, the class PNG of cat.jpg is cat_mask.png; if -o is the input folder, it lies "
            "beside the image. Images with such names are skipped.",
        ),
    ] = None,
    exclude_suffix: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="TEXT",
            help="Skip images whose name without its ending ends with this text, such as _mask; "
            "may be repeated.",
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Treat an image as done if all its result files exist, whatever program made "
            "them; those of other images are replaced.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print how many images there are (for each view) and how many are done, and write "
            "nothing.",
        ),
    ] = False,
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient",
            help="Use the part of a damaged file that can be decoded, with a note in the manifest. "
            "With --retry, this includes files that an earlier run quarantined.",
        ),
    ] = False,
    model: Model = "tiny",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    image_batch_size: Annotated[
        Optional[int],
        typer.Option(min=1, help="The most images computed at once; default: one per thread."),
    ] = None,
    sam_batch_size: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="The most boxes of an image decoded at once; default: one per thread."
        ),
    ] = None,
    io_workers: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="The most images read or written at once, in addition to those being computed; "
            "default: as many as are computed.",
        ),
    ] = None,
    points_per_side: Annotated[
        Optional[int], typer.Option(help="Points along each side of the grid (default 32).")
    ] = None,
    crop_n_layers: Annotated[
        str,
        typer.Option(
            metavar="auto|INTEGER",
            parser=layers,
            help="Layers of crops, for large images with small objects; auto: chosen by the "
            "image's size and the model's working scale. In Python, Segmenter.everything and "
            "segrid.stream take 0 by default.",
        ),
    ] = "auto",
    min_area_frac: Annotated[
        float, typer.Option(help="The least share of the image that a mask must cover.")
    ] = 0.0,
    max_masks: Annotated[Optional[int], typer.Option(help="The most masks per image.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try quarantined images again.")] = False,
    profile: Annotated[
        Optional[Path],
        typer.Option(help="profile.json of segrid tune; applies where no option is given."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local; processes: one for each GPU, each with its own copy of the model; or ray: "
            "processes on a Ray cluster (needs the ray package). The outputs are the same."
        ),
    ] = "local",
    workers: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="Processes of --engine processes (default: one per GPU) or ray (one per thread).",
        ),
    ] = None,
    ray_address: Annotated[
        Optional[str],
        typer.Option(
            help="Address of a running cluster ('auto', 'ray://...'); default: start one here."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Processes folders of images: uses every core, quarantines bad files, and can be resumed. Exit
    code 0: all images are done; 1: an image is quarantined (also by an earlier run); 2: wrong
    usage."""
    from segrid.cli.batch import Command, run

    refuse_without_effect(
        context,
        _batch_conditions(prompt, boxes, detector, views)
        | ({"workers": "only with --engine processes or ray"} if engine == "local" else {})
        | ({"ray_address": "only with --engine ray"} if engine in ("local", "processes") else {}),
    )
    options = {
        "points_per_side": points_per_side,
        "crop_n_layers": crop_n_layers,
        "min_area_frac": min_area_frac,
        "max_masks": max_masks,
    }
    request = {
        "prompts": prompt or [],
        "boxes": boxes,
        "detector": detector,
        "views": views,
        "view": view or [],
        "trust": trust,
        "conf_threshold": conf_threshold,
        "nms": nms,
        "sam_batch_size": sam_batch_size,
    }
    unnamed = {} if named(context, "model") else {"--model": model}
    if prompt and detector is None:
        unnamed["--detector"] = "tiny-detector"
    raise typer.Exit(
        run(
            Command(
                inputs=inputs,
                output=output,
                request=request,
                writers=_writers(write),
                options=options,
                model=model,
                device=device,
                precision=precision,
                threads=threads,
                profile=profile,
                image_batch_size=image_batch_size,
                io_workers=io_workers,
                output_suffix=output_suffix,
                exclude_suffix=exclude_suffix or [],
                skip_existing=skip_existing,
                dry_run=dry_run,
                lenient=lenient,
                retry=retry,
                engine=engine,
                workers=workers,
                ray_address=ray_address,
                as_json=json,
                unnamed=unnamed,
            )
        )
    )


def _batch_conditions(
    prompt: list[str] | None, boxes: Path | None, detector: str | None, views: Path | None
) -> dict[str, str]:
    """The options that have no effect on what `segrid batch` is asked to find, as
    `refuse_without_effect` takes them."""
    from segrid.pipeline import SCRIPTED

    detects = bool(prompt or detector or views)
    conditions: dict[str, str] = {}
    if detects or boxes:
        way = "--boxes" if boxes else "--views" if views else "--prompt" if prompt else "--detector"
        where = f"only where everything is segmented; not with {way}"
        conditions |= dict.fromkeys(GRID, where)
    if not detects:
        where = "only with a detector: --prompt, --detector or --views"
        conditions |= dict.fromkeys(DETECTION, where)
    if not (detects or boxes):
        conditions["sam_batch_size"] = "only with --prompt, --detector, --boxes or --views"
    if not views and not (detector or "").endswith(SCRIPTED):
        conditions["trust"] = "only with a .torchscript file as --detector, or with --views"
    return conditions


def _writers(write: str) -> list[str]:
    """The names in --write. Raises BadParameter where there are none."""
    writers = [name.strip() for name in write.split(",")]
    if not any(writers):
        raise typer.BadParameter(
            f"--write: expected names separated by commas, such as coco,labels, got {write!r}"
        )
    return writers


def tune(
    inputs: Annotated[
        list[str], typer.Argument(help="A few typical images: files, folders or patterns.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for report.md, speed.svg, recommendation.txt and profile.json.",
        ),
    ],
    model: Model = "tiny",
    device: Device = "auto",
    precision: Annotated[
        Optional[str],
        typer.Option(
            help="Precisions to try, separated by commas; default: all that this CPU runs."
        ),
    ] = None,
    threads: Annotated[
        Optional[str],
        typer.Option(
            help="Thread budgets to try, separated by commas; default: powers of two up to the "
            "CPUs this process may use."
        ),
    ] = None,
    points: Annotated[
        str, typer.Option(help="Points along each side to try, separated by commas.")
    ] = "16,24,32",
    images: Annotated[int, typer.Option(min=1, help="The most images to use.")] = 6,
    limit_mb: Annotated[
        Optional[int],
        typer.Option(
            help="Memory limit; settings that exceed it are reported as such in the table."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measures this machine on your own images: threads, images at once, precisions and points.
    Writes a report, a recommendation, and a profile for --profile."""
    from segrid.cli.tune import run

    sweep = {
        "device": device,
        "precisions": None if precision is None else names(precision),
        "threads": None if threads is None else numbers(threads),
        "points": numbers(points),
        "limit_mb": limit_mb,
    }
    raise typer.Exit(run(inputs, output, model, images, sweep, json))
