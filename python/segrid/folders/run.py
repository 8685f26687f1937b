"""One run over the images of folders: resumable, bad files set aside, all outputs functions of inputs and options."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segrid._files import whole, write_text
from segrid.folders.inputs import Input
from segrid.folders.manifest import Manifest, fingerprint
from segrid.folders.writers import WRITERS
from segrid.streaming import Streamed, stream
from segrid.views import Views

FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # of the place, not of the image


@dataclass
class Job:
    """What is done to every image: model, options of its calls, boxes by image where they are given, writers and where they write; limits: of `stream`. Can be
    sent to other processes. Raises ValueError for unknown writers."""

    model: Any
    folder: Path
    writers: list[str]
    options: dict[str, Any]
    boxes: dict[str, Any] | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)  # of each view: kept with its images, which are done again where it changes
    _seen: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        unknown = [w for w in self.writers if w not in WRITERS]
        if unknown:
            raise ValueError(f"--write: unknown {', '.join(unknown)}; there are {', '.join(WRITERS)}")

    def records(self, inputs: Iterable[Input]) -> Iterator[dict[str, Any]]:
        """The manifest's record of each image, in order, its files being written. One of an OSError in FATAL has "fatal": the run must stop."""
        for item in stream(self.model, inputs, consume=self._save, read=self._read, options_for=self._own, **self.limits, **self.options):
            yield _record(item, self._seen.pop(item.source.key, None)) | self.rule_of(item.source)

    def rule_of(self, one: Input) -> dict[str, Any]:
        """{"rule": that of the image's view}, or nothing."""
        return {"rule": self.rules[self.model.view_of(one.path)]} if isinstance(self.model, Views) else {}

    def _read(self, one: Input) -> Any:
        self._seen[one.key] = fingerprint(one.path)  # as it is read: one that changes meanwhile is done again
        return one.path

    def _own(self, one: Input, _: Any) -> dict[str, Any]:
        if isinstance(self.model, Views):
            return {"view": self.model.view_of(one.path)}
        return {} if self.boxes is None else {"boxes": self.boxes.get(one.key, self.boxes.get(one.path.name))}

    def _save(self, item: Streamed, pixels: np.ndarray) -> list[str]:
        files = [f for name in self.writers for f in WRITERS[name](item.result, pixels, self.folder, item.source.stem)]
        return [f.relative_to(self.folder).as_posix() for f in files]


def _record(item: Streamed, seen: list[int] | None) -> dict[str, Any]:
    one: Input = item.source
    record: dict[str, Any] = {"image": one.key, "file": seen, "seconds": item.seconds}
    if item.error is None:
        return record | {"status": "done", "objects": len(item.result or ()), "outputs": item.output}
    if isinstance(item.error, OSError) and item.error.errno in FATAL:
        record["fatal"] = True
    return record | {"status": "failed", "error": f"{type(item.error).__name__}: {item.error}"}


@dataclass
class Summary:
    """How a run ended."""

    done: int = 0          # images, with those of earlier runs
    skipped: int = 0       # of done and failed, by earlier runs
    failed: list[tuple[str, str]] = field(default_factory=list)  # image, why
    stopped: str | None = None  # why the run ended before its last image


def run(job: Job, inputs: list[Input], named: dict[str, Any], each: Callable[[dict[str, Any]], None] | None = None, retry: bool = False,
        engine: Callable[[Job, list[Input]], Iterator[dict[str, Any]]] | None = None) -> Summary:
    """Does the job to every input that the folder's manifest does not hold yet.

    named : what the results depend on, as kept in the manifest
    each : called with each record
    retry : images that failed are tried again
    engine : makes the records of inputs; default: this process (`Job.records`)

    A disk that is full or read-only stops the run; it can be resumed. Raises OtherOptions, BlockingIOError, OSError.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(job.folder, named | {"write": sorted(job.writers)})
    try:
        todo = [one for one in inputs if not _held(manifest.records.get(one.key), one, job, retry)]
        summary = Summary(skipped=len(inputs) - len(todo))
        records = (engine or Job.records)(job, todo)
        for record in records:
            if record.pop("fatal", False):
                summary.stopped = record["error"]
                records.close()  # type: ignore[attr-defined]
                break
            manifest.add(record)
            if each is not None:
                each(record)
        held = [manifest.records[one.key] for one in inputs if one.key in manifest.records]
        summary.done = sum(r["status"] == "done" for r in held)
        summary.failed = [(r["image"], r["error"]) for r in held if r["status"] == "failed"]
        if summary.stopped is None:
            _finish(job.folder, inputs, manifest, job.writers)
        return summary
    finally:
        manifest.close()


def _held(record: dict[str, Any] | None, one: Input, job: Job, retry: bool) -> bool:
    """Whether an earlier run's record stands: the file and its view's rule are as they were, its outputs are there."""
    if record is None or record["file"] != fingerprint(one.path) or record.get("rule") != job.rule_of(one).get("rule"):
        return False
    if record["status"] == "failed":
        return not retry
    return all((job.folder / file).exists() for file in record["outputs"])


def _finish(folder: Path, inputs: list[Input], manifest: Manifest, writers: list[str]) -> None:
    """What is made of all images: quarantined.json, and coco.json of the images' own."""
    bad = {one.key: manifest.records[one.key]["error"].replace(str(one.path), one.key) for one in inputs if manifest.records[one.key]["status"] == "failed"}
    write_text(folder / "quarantined.json", json.dumps(bad, indent=1) + "\n")
    if "coco" not in writers:
        return
    categories: dict[str, dict[str, Any]] = {}  # by name: two views may number theirs alike
    images: list[dict[str, Any]] = []
    number = 0
    with whole(folder / "coco.json") as part, open(part, "w", encoding="utf-8") as file:  # image by image: there may be many
        file.write('{"annotations": [')
        for one in inputs:
            if one.key in bad:
                continue
            own = json.loads((folder / "coco" / f"{one.stem}.json").read_text(encoding="utf-8"))
            images.append(own["images"][0] | {"id": len(images) + 1, "file_name": one.key})
            number_of = {c["id"]: _numbered(categories, c)["id"] for c in own["categories"]}
            for annotation in own["annotations"]:
                number += 1
                joined = annotation | {"id": number, "image_id": len(images), "category_id": number_of[annotation["category_id"]]}
                file.write((",\n" if number > 1 else "\n") + json.dumps(joined))
        file.write(f'],\n"images": {json.dumps(images)}, "categories": {json.dumps(list(categories.values()))}}}')


def _numbered(categories: dict[str, dict[str, Any]], one: dict[str, Any]) -> dict[str, Any]:
    """The category of that name, added where it is new: under its own number, or the next one where that is taken."""
    taken = {c["id"] for c in categories.values()}
    return categories.setdefault(one["name"], one if one["id"] not in taken else one | {"id": max(taken) + 1})
