"""Runs a job in several processes of this machine, one for each GPU, with the same manifest."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from segrid._types import JsonObject
from segrid.folders.inputs import Input
from segrid.folders.run import Job

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import Queue

POLL_SECONDS = 0.5  # how often it is asked whether a process has died
VISIBLE = "CUDA_VISIBLE_DEVICES"


def process_records(
    workers: int, threads: int
) -> Callable[[Job, list[Input]], Iterator[JsonObject]]:
    """A function for `make_records=` of `run`: `workers` processes of `threads` threads each make
    the records.

    Each process loads the job's model anew and sees one GPU alone, in turn those that this process
    sees. It takes the next image as soon as it has room, so that a faster GPU does more of them.
    The records come in the order of the inputs. Where a process ends before its work is done,
    ChildProcessError says so; the images that have records stay done.
    """

    def records(job: Job, inputs: list[Input]) -> Iterator[JsonObject]:
        context = multiprocessing.get_context("spawn")
        tasks: Queue[Input | None] = context.Queue()
        results: Queue[JsonObject] = context.Queue()
        for one in inputs:
            tasks.put(one)
        for _ in range(workers):
            tasks.put(None)
        processes = [
            context.Process(target=_work, args=(job, threads, tasks, results), daemon=True)
            for _ in range(min(workers, len(inputs)))
        ]
        try:
            for number, process in enumerate(processes):
                _start(process, number)
            yield from _in_order(inputs, results, processes)
        finally:
            for process in processes:
                if process.pid is not None:
                    process.terminate()
                    process.join()
            tasks.cancel_join_thread()

    return records


def gpu_of(number: int, visible: str | None, gpus: int) -> str:
    """The GPU of a process, as CUDA_VISIBLE_DEVICES names it.

    number : of the process, from 0
    visible : the variable's value in this process, None where it is not set
    gpus : the number of GPUs that this process sees; 0 counts as one
    """
    names = visible.split(",") if visible else [str(i) for i in range(max(1, gpus))]
    return names[number % len(names)].strip()


def count_gpus() -> int:
    """The number of GPUs that the engine can use; 0 without CUDA."""
    from segrid._native import _core

    for number in range(64):
        try:
            _core.resolve_device(f"cuda:{number}")
        except NotImplementedError:
            return number
    return 64


def _start(process: BaseProcess, number: int) -> None:
    """Starts a process with one GPU. CUDA reads the variable when it is first used."""
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = gpu_of(number, before, count_gpus())
    try:
        process.start()
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _in_order(
    inputs: list[Input], results: Queue[JsonObject], processes: Sequence[BaseProcess]
) -> Iterator[JsonObject]:
    """The records that the processes send, in the order of the inputs."""
    early: dict[str, JsonObject] = {}
    for one in inputs:
        while one.key not in early:
            record = _next(results, processes)
            early[record["image"]] = record
        yield early.pop(one.key)


def _next(results: Queue[JsonObject], processes: Sequence[BaseProcess]) -> JsonObject:
    """The next record. Raises ChildProcessError where a process has ended early."""
    while True:
        # Before the wait: what a process sent before it ended is read first.
        ended = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
        try:
            found: JsonObject = results.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if ended:
                raise ChildProcessError(
                    f"a process of the run ended with exit code {ended[0]} before its images were "
                    "done; the same command goes on from here"
                ) from None
            continue
        if "failure" in found:
            raise ChildProcessError(f"a process of the run failed: {found['failure']}")
        return found


def _work(job: Job, threads: int, tasks: Queue[Input | None], results: Queue[JsonObject]) -> None:
    """A process: it takes inputs until there are none, and sends their records."""
    import segrid

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    try:
        segrid.set_threads(threads)
        inputs: Iterator[Input] = iter(tasks.get, None)
        for record in job.records(inputs):
            results.put(record)
    except Exception as error:
        results.put({"failure": f"{type(error).__name__}: {error}"})


def _end_with_the_run() -> None:
    """Ends this process when the main one is gone: one that was killed ends no other."""
    if (main := multiprocessing.parent_process()) is not None:
        main.join()
        os._exit(1)
