"""The command `segrid`."""

from __future__ import annotations


def main() -> None:
    """Entry point of the command."""
    import warnings

    from segrid.cli.app import app
    from segrid.cli.output import print_warning

    warnings.showwarning = print_warning
    app(prog_name="segrid")
