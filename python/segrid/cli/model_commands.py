"""The commands about a model and this machine: their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from segrid.cli.options import Device, Json, Model, Precision, Threads, layers, numbers


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
            help="Folder with an instance map per image (<stem>.png or .tif, 0 is ground): adds "
            "AP50."
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
        str, typer.Option(metavar="auto|INTEGER", parser=layers, help="Layers of crops.")
    ] = "auto",
    json: Json = False,
) -> None:
    """The price of each precision on your own images: time, memory, and what becomes of the
    masks.
    """
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
            help="Sweep the prompt batch on this image instead: boxes/s and memory by boxes in one "
            "call."
        ),
    ] = None,
    batches: Annotated[
        str, typer.Option(help="Boxes in one call, for --image.")
    ] = "1,2,4,8,16,32,64,128,256",
    json: Json = False,
) -> None:
    """How long each stage of segment everything takes here, on one image after the other; or, with
    --image, how many boxes to give to one call.
    """
    from segrid.cli.bench import run, sweep
    from segrid.cli.choice import ModelChoice

    choice = ModelChoice(model, device, precision, threads)
    if image is not None:
        if images:
            raise typer.BadParameter(
                "give images for the stages, or --image for the sweep of prompts; not both"
            )
        raise typer.Exit(sweep(image, numbers(batches), choice, repeat, as_json=json))
    raise typer.Exit(run(images or [], choice, points_per_side, repeat, as_json=json))


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
