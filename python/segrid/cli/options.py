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
        help="auto (CUDA if there is a CUDA device, else the CPU), cpu, cuda, cuda:N, or cpu-plain "
        "(the code that runs on CUDA, but on the CPU)."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto (chosen from the model's table), fp32, bf16, int8 or int8-torch; on CUDA fp32, "
        "fp16 or bf16."
    ),
]
Threads = Annotated[
    Optional[int], typer.Option(help="Thread budget; default: the CPUs this process may use.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables and bars.")]
Lenient = Annotated[
    bool,
    typer.Option(
        "--lenient",
        help="Use the part of a damaged file that can be decoded, with a warning.",
    ),
]
PRECISIONS = ("fp32", "bf16", "int8", "int8-torch", "fp16", "auto")
CROP_HELP = (
    "Layers of crops, for large images with small objects; auto: chosen by the image's size and "
    "the model's working scale. (In Python the default is 0, as in segment-anything.)"
)


def layers(text: str) -> int | str:
    """Reads a number of crop layers: "auto" or a whole number. Raises BadParameter."""
    if text != "auto" and not text.isdecimal():
        raise typer.BadParameter(f"expected auto or a whole number, got {text!r}")
    return text if text == "auto" else int(text)


def names(text: str) -> list[str]:
    """Reads the names of precisions, separated by commas. Raises BadParameter for others."""
    found = [part.strip() for part in text.split(",")]
    for name in found:
        if name not in PRECISIONS:
            raise typer.BadParameter(
                f"--precision: unknown {name!r}; there are {', '.join(PRECISIONS)}"
            )
    return found


def numbers(text: str) -> list[int]:
    """Reads whole numbers separated by commas. Raises BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"expected whole numbers separated by commas, got {text!r}"
        ) from None


def given(context: typer.Context, path: str) -> list[str]:
    """Returns the words of a command for one of its paths, with all options that the user gave."""
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


def refuse_without_effect(context: typer.Context, conditions: dict[str, str]) -> None:
    """Refuses options that the user gave and that have no effect in this call.

    conditions : option as in Python, such as "max_masks" -> where it has an effect

    Raises BadParameter naming the first of them."""
    for option in context.command.params:
        name = str(option.name)
        if name in conditions and named(context, name):
            flags = [*option.opts, *option.secondary_opts]
            shown = next((flag for flag in flags if flag.startswith("--")), name)
            raise typer.BadParameter(f"{shown}: {conditions[name]}")


def named(context: typer.Context, option: str) -> bool:
    """Whether the user gave this option and did not leave its default."""
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"
