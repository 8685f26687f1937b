"""The command `segrid`."""

from __future__ import annotations


def main() -> None:
    """Entry point of the command."""
    from segrid.cli.app import app

    app()
