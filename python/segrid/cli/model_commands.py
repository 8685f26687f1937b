"""The options of the commands about a model and this machine."""

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
    numbers,
    refuse_without_effect,
)

ONLY_IMAGES = "only for images; not with a video"
VIDEO_BENCH = ("objects", "frames", "memory_frames", "image_side", "memory_pooling")


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="An original checkpoint: sam_vit_b.pth, sam2.1_hiera_small.pt, ..."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for config.json and model.safetensors. It must not hold a model yet.",
        ),
    ],
    json: Json = False,
) -> None:
    """Converts an original checkpoint to a model folder. Reads only its weights; no code in it
    runs."""
    from segrid.cli.convert import run

    raise typer.Exit(run(checkpoint, output, json))


def quantize(
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for config.json and model.safetensors. It must not hold a model yet.",
        ),
    ],
    model: Model = "tiny",
    json: Json = False,
) -> None:
    """Makes a model folder with int8 weights, which loads without quantising again."""
    from segrid.cli.quantize import run

    raise typer.Exit(run(model, output, json))


def compare(
    context: typer.Context,
    images: Annotated[
        list[Path], typer.Argument(help="Image files; or a video file or a folder of its frames.")
    ],
    precision: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME...",
            help="One or more precisions: --precision fp32 bf16 int8 (the default for images), or "
            "fp32,bf16,int8. The first is the reference; of a video it is fp32, the default there.",
        ),
    ] = None,
    labels: Annotated[
        Optional[Path],
        typer.Option(
            help="Folder with an instance map per image (<stem>.png or .tif, 0 is background); "
            "adds AP50."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File for a picture of the worst difference.")
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
    point: Annotated[
        Optional[list[str]],
        typer.Option(metavar="X,Y", help="Of a video: an object, as for `segrid track`."),
    ] = None,
    box: Annotated[
        Optional[list[str]],
        typer.Option(metavar="X0,Y0,X1,Y1", help="Of a video: an object by its box."),
    ] = None,
    mask: Annotated[
        Optional[Path],
        typer.Option(
            help="Of a video: the objects of a label map of its first frame (.png or .tif, 0 is "
            "background)."
        ),
    ] = None,
    prompt: Annotated[
        Optional[list[str]], typer.Option(help="Of a video: objects to look for.")
    ] = None,
    detector: Annotated[str, typer.Option(help="Detector for --prompt.")] = "tiny-detector",
    memory_frames: Annotated[
        str,
        typer.Option(metavar="N,...", help="Of a video: frames that are looked back at: 7,4,2."),
    ] = "",
    image_side: Annotated[
        str,
        typer.Option(metavar="N,...", help="Of a video: sides of the model's square, pixels."),
    ] = "",
    memory_pooling: Annotated[
        str,
        typer.Option(metavar="N,...", help="Of a video: how its memory is pooled: 1,2."),
    ] = "",
    frames: Annotated[
        Optional[int],
        typer.Option(min=1, help="Of a video: frames after the first one; default: all."),
    ] = None,
    json: Json = False,
) -> None:
    """Compares the precisions on your own images: time, memory, and the changes in the masks. Of a
    video: every combination of precisions, frames of memory, sides and poolings, against fp32 with
    the settings of the model."""
    from segrid.cli.choice import TRACKER, ModelChoice
    from segrid.cli.compare import run, split, split_numbers
    from segrid.cli.compare_video import VideoRequest, is_video, run_video

    ages, sides, poolings = (
        [] if not text else numbers(text) for text in (memory_frames, image_side, memory_pooling)
    )
    if poolings and any(str(path).isdecimal() and not path.exists() for path in images):
        raise typer.BadParameter("with --memory-pooling, separate numbers by commas: 1,2")
    images = split_numbers(images, ages, sides)
    images, precisions = split(images, precision or [])
    request = VideoRequest(
        point or [], box or [], prompt or [], mask, ages, sides, poolings, frames
    )
    if request or any(is_video(path) for path in images):
        conditions = dict.fromkeys(
            ("labels", "output", "points_per_side", "crop_n_layers"), ONLY_IMAGES
        ) | ({} if prompt else {"detector": "only with --prompt"})
        refuse_without_effect(context, conditions)
        if len(images) != 1:
            raise typer.BadParameter(f"give one video with these options, got {len(images)} files")
        choice = ModelChoice(model if named(context, "model") else TRACKER, device, "fp32", threads)
        raise typer.Exit(run_video(images[0], request, precisions, choice, detector, as_json=json))
    refuse_without_effect(context, {"detector": "only for a video, with --prompt"})
    if len(images) == 1 and images[0].is_dir():
        raise typer.BadParameter(
            f"{images[0]}: is a folder; for a folder of a video's frames, give --point, --box, "
            "--mask or --prompt; else give image files"
        )
    raise typer.Exit(
        run(
            images,
            precisions or ["fp32", "bf16", "int8"],
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
    context: typer.Context,
    images: Annotated[
        Optional[list[Path]],
        typer.Argument(help="Image files; by default, a drawn image is used."),
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
        typer.Option(min=1, help="Timed runs after a warm-up run; their median is shown."),
    ] = 3,
    image: Annotated[
        Optional[Path],
        typer.Option(
            help="Measure batches of boxes on this image instead: boxes per second and memory by "
            "the number of boxes in one call."
        ),
    ] = None,
    batches: Annotated[
        str, typer.Option(help="Numbers of boxes in one call, for --image, separated by commas.")
    ] = "1,2,4,8,16,32,64,128,256",
    video: Annotated[
        Optional[str],
        typer.Option(
            help='Measure following objects through this video instead; "drawn" draws one.'
        ),
    ] = None,
    objects: Annotated[int, typer.Option(min=1, help="Objects to follow, for --video.")] = 1,
    frames: Annotated[
        int, typer.Option(min=1, help="Frames to measure with a full memory, for --video.")
    ] = 5,
    memory_frames: Annotated[
        Optional[int], typer.Option(min=1, help="Frames that are looked back at, for --video.")
    ] = None,
    image_side: Annotated[
        Optional[int], typer.Option(help="Side of the model's square in pixels, for --video.")
    ] = None,
    memory_pooling: Annotated[
        Optional[int], typer.Option(help="How memory is pooled, for --video; default: not.")
    ] = None,
    json: Json = False,
) -> None:
    """Measures how long each stage of segment everything takes on this machine, one image after
    another; or, with --image, how many boxes to give to one call; or, with --video, each stage of
    following objects."""
    from segrid.cli.bench import run, sweep
    from segrid.cli.bench_video import VideoBench, run_video
    from segrid.cli.choice import TRACKER, ModelChoice

    refuse_without_effect(context, _bench_conditions(image, video))
    if video is not None and not named(context, "model"):
        model = TRACKER
    choice = ModelChoice(model, device, precision, threads)
    if video is not None:
        what = VideoBench(video, objects, frames, memory_frames, image_side, memory_pooling)
        raise typer.Exit(run_video(what, choice, as_json=json))
    if image is not None:
        if images:
            raise typer.BadParameter(
                "give images to measure the stages, or --image to sweep prompts; not both"
            )
        raise typer.Exit(sweep(image, numbers(batches), choice, repeat, as_json=json))
    raise typer.Exit(run(images or [], choice, points_per_side, repeat, as_json=json))


def _bench_conditions(image: Path | None, video: str | None) -> dict[str, str]:
    """The options that have no effect on what `segrid bench` measures, as `refuse_without_effect`
    takes them."""
    if video is not None:
        options = ("images", "image", "batches", "repeat", "points_per_side")
        return dict.fromkeys(options, "not with --video")
    conditions = dict.fromkeys(VIDEO_BENCH, "only with --video")
    if image is None:
        return conditions | {"batches": "only with --image"}
    return conditions | {"points_per_side": "only for the stages; not with --image"}


def info(
    model: Model = "tiny",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Prints the build, the CPU, the kernels in use, the thread budget and the model."""
    from segrid.cli.choice import ModelChoice
    from segrid.cli.info import run

    run(ModelChoice(model, device, precision, threads), as_json=json)
