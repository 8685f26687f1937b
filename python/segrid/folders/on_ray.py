"""Runs a job on a Ray cluster, with the same manifest and the same bytes.

It is a stateful stage of Ray Data, with one copy of the model for each worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segrid._types import JsonObject
from segrid.folders.inputs import Input
from segrid.folders.run import Job


class Stage:
    """What a worker keeps: the job with its model, which is loaded where the stage is made."""

    def __init__(self, job: Job, threads: int) -> None:
        import segrid

        segrid.set_threads(threads)
        self.job = job

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[str]]:
        """Turns rows of inputs into rows of records.

        Where it runs twice (after a worker was killed), it writes the same bytes.
        """
        inputs = [
            Input(Path(path), key, stem)
            for path, key, stem in zip(batch["path"], batch["key"], batch["stem"], strict=True)
        ]
        return {"record": [json.dumps(record) for record in self.job.records(inputs)]}


def ray_records(
    workers: int, threads: int, address: str | None = None, gpus: float = 0
) -> Callable[[Job, list[Input]], Iterator[JsonObject]]:
    """A function for `make_records=` of `run`: the Ray cluster at the address, or one that is
    started here, makes the records.

    It has `workers` processes of `threads` threads each, and of `gpus` GPUs each where the model
    uses them. Paths must mean the same files everywhere. A worker that dies is started again, and
    its images are done again. Raises ImportError without ray.
    """

    def records(job: Job, inputs: list[Input]) -> Iterator[JsonObject]:
        import ray

        own = not ray.is_initialized()
        if own:
            here: Any = {} if address else {"num_cpus": workers * threads + 1}
            ray.init(address, include_dashboard=False, log_to_driver=False, **here)
        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            rows = [{"path": str(one.path), "key": one.key, "stem": one.stem} for one in inputs]
            if not rows:
                return
            data = ray.data.from_items(
                rows, override_num_blocks=len(rows) if len(rows) < 4 * workers else None
            )
            done = data.map_batches(
                Stage,
                batch_size=max(1, min(16, len(rows) // (4 * workers))),
                fn_constructor_args=(job, threads),
                num_cpus=threads,
                num_gpus=gpus,
                compute=ray.data.ActorPoolStrategy(size=workers),
            )
            for row in done.iter_rows():
                yield json.loads(row["record"])
        finally:
            if own:
                ray.shutdown()

    return records
