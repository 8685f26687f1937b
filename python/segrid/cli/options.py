"""Options that several commands share, and the parsers of option values."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

Model = Annotated[
    str, typer.Option(help="Packaged model, model folder, .safetensors file or Hugging Face id.")
]
Device = Annotated[
    str,
    typer.Option(
        help="auto (CUDA where there is a device, else cpu), cpu, cuda, cuda:N, or cpu-plain (what "
        "runs on CUDA, on the CPU)."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto (by the model's table), fp32, bf16, int8 or int8-torch; on CUDA fp32, fp16 or "
        "bf16."
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


def layers(text: str) -> int | str:
    """Reads a number of crop layers: "auto" or a whole number. Raises BadParameter."""
    if text != "auto" and not text.isdecimal():
        raise typer.BadParameter(f"expected auto or a whole number, got {text!r}")
    return text if text == "auto" else int(text)


def numbers(text: str) -> list[int]:
    """Reads whole numbers with commas between. Raises BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"expected whole numbers with commas between, got {text!r}"
        ) from None


def given(context: typer.Context, path: str) -> list[str]:
    """The words of a command with all options that the user gave, for one of its paths."""
    words = ["segrid", str(context.info_name), path if path[0] != "-" else f"./{path}"]
    for option in context.command.params:
        name = str(option.name)
        if option.param_type_name != "option" or not named(context, name):
            continue
        value = context.params[name]
        if getattr(option, "is_flag", False):
            words.append((option.opts if value else option.secondary_opts)[0])
        else:
            for one in value if getattr(option, "multiple", False) else [value]:
                words += [option.opts[0], str(one)]
    return words


def named(context: typer.Context, option: str) -> bool:
    """Whether the user gave this option, rather than left its default."""
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"
