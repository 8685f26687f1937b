"""Measures in a process of its own, whose memory is that of one model alone."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable

from segrid._types import JsonObject, Progress

Measure = Callable[[JsonObject, Progress], None]


def main_of(module: str) -> list[str]:
    """The command of a process that runs the function `_main` of a module. It imports from where
    this process does: Python's own rule would look in the working folder first."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import _main; _main()"
    return [sys.executable, "-c", code]


def measured(call: str, module: str, job: JsonObject, name: str, progress: Progress) -> JsonObject:
    """The last message of a process that runs `serve` in the function `_main` of `module`.

    call, name : for messages: what the user called, and what this process measures
    job : what the process measures
    progress : is called with each message that has "done"

    Raises RuntimeError with the last line of a process that failed.
    """
    answer: JsonObject = {}
    with (
        tempfile.TemporaryFile("w+") as stderr,
        subprocess.Popen(
            main_of(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; its last line tells why
                child.stdin.write(json.dumps(job))
                child.stdin.close()
            for line in child.stdout:
                message = json.loads(line)
                if "done" in message:
                    progress(message)
                else:
                    answer = message
        except BaseException:
            child.kill()
            raise
        child.wait()
        stderr.seek(0)
        errors = stderr.read()
    if not answer:
        raise RuntimeError(
            f"{call}: the process for {name} failed: {_message(errors) or child.returncode}"
        )
    return answer


def _message(errors: str) -> str:
    """The last line of a traceback without the name of the error's class."""
    last = errors.strip().splitlines()[-1:]
    return re.sub(r"^[\w.]+: ", "", last[0]) if last else ""


def serve(measure: Measure) -> None:
    """The other end of `measured`: calls measure(job, send). What it sends are lines of JSON."""
    job = json.loads(sys.stdin.read())
    out = sys.stdout
    sys.stdout = sys.stderr  # libraries print to it

    def send(message: JsonObject) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    measure(job, send)
