"""Commands and their options. What they do lies beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from segrid import __version__

# No markup in help texts: rich would take "[x0, y0, x1, y1]" for a style and drop it.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Model = Annotated[
    str, typer.Option(help="Packaged model, model folder, .safetensors file or Hugging Face id.")
]
Device = Annotated[
    str,
    typer.Option(
        help="auto (CUDA where there is a device, else cpu), cpu, cuda, cuda:N, or cpu-plain (what runs on CUDA, on the CPU)."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto (by the model's table), fp32, bf16, int8 or int8-torch; on CUDA fp32, fp16 or bf16."
    ),
]
Threads = Annotated[
    Optional[int], typer.Option(help="Thread budget; default: the CPUs this process may use.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables and bars.")]
Lenient = Annotated[
    bool,
    typer.Option("--lenient", help="Of a damaged file take what can be decoded, with a warning."),
]


CROP_HELP = (
    "Layers of crops, for large images with small objects; auto: by the image's size and the "
    "model's working scale. (In Python the default is 0, as in segment-anything.)"
)


def _layers(text: str) -> int | str:
    if text != "auto" and not text.isdecimal():
        raise typer.BadParameter(f"expected auto or a whole number, got {text!r}")
    return text if text == "auto" else int(text)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"expected whole numbers with commas between, got {text!r}"
        ) from None


def _named(context: typer.Context, option: str) -> bool:
    """Whether the user gave it."""
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"segrid {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Promptable segmentation on ordinary CPUs."""


@app.command()
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
        str, typer.Option(metavar="auto|INTEGER", parser=_layers, help=CROP_HELP)
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
    """Segment everything: an overlay PNG, a 16-bit label PNG and a COCO JSON per image. Exit code 1 when an image failed."""
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
    choice = ModelChoice(model, device, precision, threads, named=_named(context, "model"))
    raise typer.Exit(
        run(images, output, choice, options, lenient=lenient, as_json=json, trace=trace)
    )


@app.command()
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
            help="Of two boxes of one prompt with a larger IoU the better one stays; default: all stay."
        ),
    ] = None,
    lenient: Lenient = False,
    json: Json = False,
) -> None:
    """Words to boxes and masks: a picture and a COCO JSON per image. Exit code 1 when an image failed."""
    from segrid.cli.choice import ModelChoice
    from segrid.cli.detect import run

    detector = ModelChoice(model, device, precision, threads, named=_named(context, "model"))
    masked = ModelChoice(segmenter, device, precision, None, named=_named(context, "segmenter"))
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
        )
    )


@app.command()
def batch(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Folders, patterns ('photos/**/*.png'), lists of paths (.txt, a path a line) and image "
            "files. Hidden files, and what segrid wrote, are left out; links to folders are "
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
            help="What to look for, once for each thing; without it, --boxes and --views everything is "
            "segmented."
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
            help="Only images of this view of --views; may be repeated. A lone one without a pattern: "
            "all images are of it."
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
            help="Some of coco, labels, tiff, classes, overlay, objects, csv, parquet, geojson, with "
            "commas between; each has a folder. classes: a PNG whose pixels are class numbers, 0 where nothing is: the class's "
            "name where that is a whole number (teeth), else its place among the prompts or "
            "classes, from 1; classes.json says which; the higher score wins."
        ),
    ] = "coco,labels,overlay",
    output_suffix: Annotated[
        Optional[str],
        typer.Option(
            metavar="TEXT",
            help="_mask: class PNGs are STEM_mask.png directly below -o, not in a "
            "folder of their own; so they lie beside the images where -o is the input folder. Images "
            "with such names are left out.",
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
            parser=_layers,
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
    """Folders of images: every core busy, bad files set aside, resumable. Exit code 0: all done; 1: an image is quarantined (also by an earlier run); 2: usage."""
    from segrid.cli.batch import Command, run

    options = {
        "points_per_side": points_per_side,
        "crop_n_layers": crop_n_layers,
        "min_area_frac": min_area_frac,
        "max_masks": max_masks,
    }
    asked = {
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
    unnamed = {} if _named(context, "model") else {"--model": model}
    if prompt and detector is None:
        unnamed["--detector"] = "tiny-detector"
    raise typer.Exit(
        run(
            Command(
                inputs,
                output,
                asked,
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


@app.command()
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
            help="Budgets to try, commas between; default: powers of two up to the CPUs this process may use."
        ),
    ] = None,
    points: Annotated[str, typer.Option(help="Points along each side to try.")] = "16,24,32",
    images: Annotated[int, typer.Option(min=1, help="At most this many of the images.")] = 6,
    limit_mb: Annotated[
        Optional[int], typer.Option(help="A setting that takes more memory is a row that says so.")
    ] = None,
    json: Json = False,
) -> None:
    """Measures this machine on your own images: threads, images at once, precisions, points; a report, a recommendation, a profile for --profile."""
    from segrid.cli.tune import run

    sweep = {
        "device": device,
        "precisions": None if precision is None else precision.split(","),
        "threads": None if threads is None else _numbers(threads),
        "points": _numbers(points),
        "limit_mb": limit_mb,
    }
    raise typer.Exit(run(inputs, output, model, images, sweep, json))


@app.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="An original checkpoint: sam_vit_b.pth, sam2.1_hiera_small.pt, ..."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for config.json and model.safetensors.")
    ],
    json: Json = False,
) -> None:
    """An original checkpoint to a model folder. Only its weights are read; no code in it runs."""
    from segrid.cli.convert import run

    raise typer.Exit(run(checkpoint, output, json))


@app.command()
def quantize(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for config.json and model.safetensors.")
    ],
    model: Model = "tiny",
    json: Json = False,
) -> None:
    """A model folder with int8 weights: loads without quantising again."""
    from segrid.cli.quantize import run

    raise typer.Exit(run(model, output, json))


@app.command()
def compare(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    precision: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME...",
            help="One or more, the reference first: --precision fp32 bf16 int8 (the default).",
        ),
    ] = None,
    labels: Annotated[
        Optional[Path],
        typer.Option(
            help="Folder with an instance map per image (<stem>.png or .tif, 0 is ground): adds AP50."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Picture of the worst difference.")
    ] = Path("segrid-compare.png"),
    model: Model = "tiny",
    device: Device = "auto",
    threads: Threads = None,
    points_per_side: Annotated[
        Optional[int], typer.Option(help="Points along each side of the grid (default 32).")
    ] = None,
    crop_n_layers: Annotated[
        str, typer.Option(metavar="auto|INTEGER", parser=_layers, help="Layers of crops.")
    ] = "auto",
    json: Json = False,
) -> None:
    """The price of each precision on your own images: time, memory, and what becomes of the masks."""
    from segrid.cli.compare import run, split

    images, precisions = split(images, precision)
    raise typer.Exit(
        run(
            images,
            precisions,
            labels,
            output,
            model,
            device,
            threads,
            {"points_per_side": points_per_side, "crop_n_layers": crop_n_layers},
            json,
        )
    )


@app.command()
def bench(
    images: Annotated[
        Optional[list[Path]], typer.Argument(help="Image files; a drawn one where none is given.")
    ] = None,
    model: Model = "tiny",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    points_per_side: Annotated[
        int, typer.Option(min=1, max=500, help="Points along each side of the grid.")
    ] = 32,
    repeat: Annotated[
        int,
        typer.Option(min=1, help="Timed runs, after one that warms up; the median one is shown."),
    ] = 3,
    image: Annotated[
        Optional[Path],
        typer.Option(
            help="Sweep the prompt batch on this image instead: boxes/s and memory by boxes in one call."
        ),
    ] = None,
    batches: Annotated[
        str, typer.Option(help="Boxes in one call, for --image.")
    ] = "1,2,4,8,16,32,64,128,256",
    json: Json = False,
) -> None:
    """How long each stage of segment everything takes here, on one image after the other; or, with --image, how many boxes to give to one call."""
    from segrid.cli.bench import run, sweep
    from segrid.cli.choice import ModelChoice

    choice = ModelChoice(model, device, precision, threads)
    if image is not None:
        if images:
            raise typer.BadParameter(
                "give images for the stages, or --image for the sweep of prompts; not both"
            )
        raise typer.Exit(sweep(image, _numbers(batches), choice, repeat, as_json=json))
    raise typer.Exit(run(images or [], choice, points_per_side, repeat, as_json=json))


@app.command()
def info(
    model: Model = "tiny",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """The build, the CPU, the kernels in use, the thread budget and the model."""
    from segrid.cli.choice import ModelChoice
    from segrid.cli.info import run

    run(ModelChoice(model, device, precision, threads), as_json=json)
