"""Loads the engine, the extension module segrid._core, once, on first use.

Where it cannot be loaded, the error says why.
"""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

try:
    from segrid import _core
except ImportError as error:
    raise ImportError(
        f"segrid's engine could not be loaded: {error}\n"
        "It is linked to the torch it was built with, which must be installed in the same "
        "environment: install torch 2.11 to 2.13, then reinstall segrid (pip install "
        "--no-build-isolation .)."
    ) from error

_built, _found = _core.build_info()["torch"], version("torch")
if _built.split(".")[:2] != _found.split(".")[:2]:
    raise ImportError(
        f"segrid was built against torch {_built}, but torch {_found} is installed: reinstall "
        "segrid (pip install --no-build-isolation .)"
    )

_core.cpu_mask()  # raises ValueError where SEGRID_CPU names a level that this CPU lacks
_core.check_kernels()  # the same for SEGRID_KERNELS

CancelToken = _core.CancelToken
Cancelled = _core.Cancelled
Cancelled.partial = None  # type: ignore[attr-defined]  # `Segmenter.everything` sets it
CorruptFileError = _core.CorruptFileError


@contextmanager
def cancel_scope(tokens: Iterable[_core.CancelToken]) -> Iterator[None]:
    """A block whose calls of the engine stop when one of the tokens is cancelled.

    Raises Cancelled where one is cancelled already.
    """
    with ExitStack() as scopes:
        for token in tokens:
            if token.cancelled:
                raise Cancelled("stopped before it began")
            scopes.enter_context(token)
        yield


@contextmanager
def fair_share(workers: int) -> Iterator[None]:
    """A block whose calls of the engine use at most this many of its threads while other Python
    threads' calls have work for the rest, and more as soon as threads are idle."""
    before = _core.set_fair_share(workers)
    try:
        yield
    finally:
        _core.set_fair_share(before)


def set_threads(n: int) -> None:
    """Sets the thread budget of the process.

    At most `n` threads compute, whatever is called at once. Default: the environment variable
    SEGRID_THREADS, else the CPUs that affinity and cgroup quota allow.

    Raises ValueError unless 1 <= n <= 1024.
    """
    _core.set_threads(n)
    if n > available_cpus():
        warnings.warn(
            f"segrid.set_threads({n}): this process may use {available_cpus()} CPUs; more "
            "threads than that are slower",
            RuntimeWarning,
            stacklevel=2,
        )


def threads() -> int:
    """The thread budget of the process."""
    return _core.threads()


def available_cpus() -> int:
    """The number of CPUs that affinity and cgroup quota allow this process."""
    return _core.available_cpus()


def openmp_runtimes() -> list[str]:
    """Paths of the OpenMP runtimes that this process has loaded.

    More than one is a known cause of crashes and slowness.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
    except OSError:
        return []
    names = ("libgomp", "libiomp", "libomp.", "libomp-")
    return sorted(p for p in paths if os.path.basename(p).startswith(names))


def _warn_of_environment() -> None:
    runtimes = openmp_runtimes()
    if len(runtimes) > 1:
        warnings.warn(
            f"segrid: more than one OpenMP runtime is loaded: {', '.join(runtimes)}",
            RuntimeWarning,
            stacklevel=3,
        )
    asked = os.environ.get("SEGRID_THREADS", "")
    if asked.isdigit() and int(asked) > available_cpus():
        warnings.warn(
            f"SEGRID_THREADS={asked}, but this process may use {available_cpus()} CPUs",
            RuntimeWarning,
            stacklevel=3,
        )


_warn_of_environment()
# Before the interpreter ends, running work is cancelled and the workers are joined.
atexit.register(_core.shutdown, True)
