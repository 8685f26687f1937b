"""The commands for folders of images, batch and tune: their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from segrid.cli.options import Device, Json, Model, Precision, Threads, layers, named, numbers


def batch(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Folders, patterns ('photos/**/*.png'), lists of paths (.txt, a path a line) and "
            "image files. Hidden files, and what segrid wrote, are left out; links to folders are "
            "followed."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for the results and the manifest, from which a killed run "
            "goes on. It may be the input folder, or lie in it.",
        ),
    ],
    prompt: Annotated[
        Optional[list[str]],
        typer.Option(
            help="What to look for, once for each thing; without it, --boxes and --views "
            "everything is segmented."
        ),
    ] = None,
    boxes: Annotated[
        Optional[Path], typer.Option(help='JSON: {"image.png": [[x0, y0, x1, y1], ...], ...}.')
    ] = None,
    detector: Annotated[
        Optional[str],
        typer.Option(help="Detector for --prompt, or a .torchscript file (with --trust)."),
    ] = None,
    views: Annotated[
        Optional[Path],
        typer.Option(
            help='JSON, a detector for each kind of picture: {"front": {"pattern": "*_front.*", '
            '"detector": "front.torchscript"}, ...}; also "prompts", "threshold", "nms".'
        ),
    ] = None,
    view: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Only images of this view of --views; may be repeated. A lone one without a "
            "pattern: all images are of it."
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="The TorchScript file may run its code.")
    ] = False,
    conf_threshold: Annotated[float, typer.Option(help="Detection scores are above it.")] = 0.1,
    nms: Annotated[
        Optional[float],
        typer.Option(help="Of two boxes of one prompt with a larger IoU the better one stays."),
    ] = None,
    write: Annotated[
        str,
        typer.Option(
            help="Some of coco, labels, tiff, classes, overlay, objects, csv, parquet, geojson, "
            "with commas between; each has a folder. classes: a PNG whose pixels are class "
            "numbers, 0 where nothing is: the class's name where that is a whole number (teeth), "
            "else its place among the prompts or classes, from 1; classes.json says which; the "
            "higher score wins."
        ),
    ] = "coco,labels,overlay",
    output_suffix: Annotated[
        Optional[str],
        typer.Option(
            metavar="TEXT",
            help="_mask: class PNGs are STEM_mask.png directly below -o, not in a "
            "folder of their own; so they lie beside the images where -o is the input folder. "
            "Images with such names are left out.",
        ),
    ] = None,
    exclude_suffix: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="TEXT", help="_mask: images named STEM_mask are left out; may be repeated."
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Images whose result files are all there are done, whoever wrote "
            "them, with whatever options.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say how many images there are (of each view), how many are done, and "
            "write nothing.",
        ),
    ] = False,
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient",
            help="Damaged files give what could be decoded, with a note in the manifest; "
            "with --retry also those that an earlier run set aside.",
        ),
    ] = False,
    model: Model = "tiny",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    image_batch_size: Annotated[
        Optional[int],
        typer.Option(min=1, help="Most images computed at once; default: one for each thread."),
    ] = None,
    sam_batch_size: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="Most boxes of an image decoded at once; default: one for each thread."
        ),
    ] = None,
    io_workers: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="Most images read or written at once, held beside those that are computed; "
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
            help="Layers of crops, for large images with small "
            "objects; auto: by the image's size and the model's working scale. In Python, "
            "Segmenter.everything and segrid.stream take 0 where nothing is given.",
        ),
    ] = "auto",
    min_area_frac: Annotated[
        float, typer.Option(help="Least share of the image a mask covers.")
    ] = 0.0,
    max_masks: Annotated[
        Optional[int], typer.Option(help="At most this many masks an image.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Quarantined images are tried again.")
    ] = False,
    profile: Annotated[
        Optional[Path],
        typer.Option(help="profile.json of segrid tune, where nothing else is given."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local, or ray: processes on a Ray cluster, same outputs (needs the ray package)."
        ),
    ] = "local",
    workers: Annotated[
        Optional[int],
        typer.Option(min=1, help="Processes of --engine ray; default: one for each thread."),
    ] = None,
    ray_address: Annotated[
        Optional[str],
        typer.Option(
            help="Of a running cluster ('auto', 'ray://...'); default: one is started here."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Folders of images: every core busy, bad files set aside, resumable. Exit code 0: all done; 1:
    an image is quarantined (also by an earlier run); 2: usage.
    """
    from segrid.cli.batch import Command, run

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
                inputs,
                output,
                request,
                [name.strip() for name in write.split(",")],
                options,
                model,
                device,
                precision,
                threads,
                profile,
                image_batch_size,
                io_workers,
                output_suffix,
                exclude_suffix or [],
                skip_existing,
                dry_run,
                lenient,
                retry,
                engine,
                workers,
                ray_address,
                json,
                unnamed,
            )
        )
    )


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
        typer.Option(help="To try, commas between; default: those that this CPU runs."),
    ] = None,
    threads: Annotated[
        Optional[str],
        typer.Option(
            help="Budgets to try, commas between; default: powers of two up to the CPUs this "
            "process may use."
        ),
    ] = None,
    points: Annotated[str, typer.Option(help="Points along each side to try.")] = "16,24,32",
    images: Annotated[int, typer.Option(min=1, help="At most this many of the images.")] = 6,
    limit_mb: Annotated[
        Optional[int], typer.Option(help="A setting that takes more memory is a row that says so.")
    ] = None,
    json: Json = False,
) -> None:
    """Measures this machine on your own images: threads, images at once, precisions, points; a
    report, a recommendation, a profile for --profile.
    """
    from segrid.cli.tune import run

    sweep = {
        "device": device,
        "precisions": None if precision is None else precision.split(","),
        "threads": None if threads is None else numbers(threads),
        "points": numbers(points),
        "limit_mb": limit_mb,
    }
    raise typer.Exit(run(inputs, output, model, images, sweep, json))
