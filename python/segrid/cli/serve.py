"""The command for the service: serve."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from segrid.cli.options import Device, Precision, Threads, named


def serve(
    context: typer.Context,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; others than this machine's own need a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 8000,
    model: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Model for images, NAME or NAME=MODEL; may be repeated, the first is the default."
        ),
    ] = None,
    detector: Annotated[
        Optional[list[str]], typer.Option(help="Model that finds what words name; may be repeated.")
    ] = None,
    tracker: Annotated[
        Optional[list[str]],
        typer.Option(help="Model that follows objects through video; may be repeated."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    token: Annotated[
        Optional[str],
        typer.Option(
            help="What callers must send as Authorization: Bearer. The environment variable "
            "SEGRID_SERVE_TOKEN keeps it out of the list of processes."
        ),
    ] = None,
    media_root: Annotated[
        Optional[str], typer.Option(help="Folder from which callers may name videos by path.")
    ] = None,
    state_dir: Annotated[
        Optional[str], typer.Option(help="Folder for the state of sessions.")
    ] = None,
    restore: Annotated[
        bool,
        typer.Option("--restore", help="Take up the sessions that an earlier run left there."),
    ] = False,
    cors: Annotated[
        Optional[list[str]],
        typer.Option(help="Origin whose pages may call the service; may be repeated."),
    ] = None,
    compat: Annotated[
        Optional[list[str]],
        typer.Option(help="Existing service to answer like: video or grid; default: both."),
    ] = None,
    compat_port: Annotated[
        Optional[int],
        typer.Option(min=0, max=65535, help="Second port, with the first of --compat at its root."),
    ] = None,
    grace: Annotated[
        Optional[float],
        typer.Option(help="Seconds to finish after SIGTERM; then work is cancelled."),
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write logs as JSON.")] = False,
    more: Annotated[
        Optional[list[str]],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting, such as max_sessions=4; may be repeated. SEGRID_SERVE_<NAME> sets "
            "it, too.",
        ),
    ] = None,
    workers: Annotated[
        Optional[int], typer.Option(help="Refused: sessions live in one process.")
    ] = None,
) -> None:
    """Serves images, video sessions and a page to click on, over HTTP. SIGTERM ends it: requests
    and jobs that run are finished within --grace."""
    from segrid.cli.choice import set_threads
    from segrid.cli.output import exit_on_error

    options = {
        "segmenters": model,
        "detectors": detector,
        "trackers": tracker,
        "cors": cors,
        "compat": compat,
        "token": token,
        "media_root": media_root,
        "state_dir": state_dir,
        "grace": grace,
        "restore": restore or None,
        "log_json": log_json or None,
        "device": device if named(context, "device") else None,
        "precision": precision if named(context, "precision") else None,
    }
    with exit_on_error(RuntimeError):
        refuse_workers(workers)
        server, settings = _loaded()
        given = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if value is not None
        }
        for text in more or []:
            name, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"--set {text}: expected NAME=VALUE, such as max_sessions=4")
            if name in given:
                raise ValueError(f"--set {text}: {name} is given twice; give it once")
            given[name] = settings.parsed(settings.setting_named(name), value)
        set_threads(threads)
        server.run(settings.Settings.from_environment(**given), host, port, compat_port)


def refuse_workers(workers: int | None) -> None:
    """Raises ValueError for more than one worker, with the reason."""
    if workers not in (None, 1):
        raise ValueError(
            f"--workers {workers}: sessions, encoded images and jobs live in one process, and its "
            "engine uses all CPUs already. A second process would not know the sessions of the "
            "first, and would compete for the same CPUs. For many machines deploy segrid.serve.ray"
        )


def _loaded() -> tuple[Any, Any]:
    """The modules of the server and its settings. Raises ImportError saying what to install."""
    try:
        from segrid.serve import server, settings
    except ImportError as error:
        raise ImportError(
            f'segrid serve needs more packages: pip install "segrid[serve]" ({error})'
        ) from error
    return server, settings
