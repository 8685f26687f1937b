"""The command line `segrid`: its commands, in the order in which --help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from segrid import __version__
from segrid.cli.folder_commands import batch, tune
from segrid.cli.image_commands import detect, everything
from segrid.cli.model_commands import bench, compare, convert, info, quantize
from segrid.cli.serve import serve
from segrid.cli.video_commands import track

# No markup in help texts, because rich would take "[x0, y0, x1, y1]" for a style and drop it.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


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


for _command in (
    everything,
    detect,
    track,
    batch,
    serve,
    tune,
    convert,
    quantize,
    compare,
    bench,
    info,
):
    app.command()(_command)
