"""One run over the images of folders. It can be resumed, it quarantines bad files, and all outputs
depend only on inputs and options."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._files import write_text
from segrid._image import to_image
from segrid._native import _core
from segrid._types import JsonObject, Options
from segrid.folders.classes import Classes
from segrid.folders.coco import merge
from segrid.folders.inputs import Input
from segrid.folders.manifest import Manifest, Records, fingerprint, options_of, read_records
from segrid.folders.notes import Notes
from segrid.folders.stream import Streamed, stream
from segrid.folders.views import Views
from segrid.folders.walk import is_broken_link
from segrid.folders.writers import SEGMENTED, WRITERS, Place, is_class_picture, is_written

# Errors that concern the output folder and not the image.
FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass
class Job:
    """The work that is done for every image. It can be sent to other processes.

    model, options : of `segrid.stream` and of its calls
    limits : of `stream`
    folder, writers : the output folder, and the kinds of results that are written
    suffix : of class pictures, see `Place`
    boxes : given boxes, by image; an image without an entry fails
    rules : settings on which the results of each view depend. These, or its boxes, are stored with
        each image, which is done again if they change
    classes : the classes that can be found
    lenient : damaged files give the part that can be decoded
    skip_existing : images whose files all exist are done, whatever program wrote them

    Raises ValueError for unknown writers, and for a suffix that would not give files names of their
    own."""

    model: Any
    folder: Path
    writers: list[str]
    options: Options
    boxes: JsonObject | None = None
    limits: Options = field(default_factory=dict)
    rules: JsonObject = field(default_factory=dict)
    classes: Classes = SEGMENTED
    suffix: str | None = None
    lenient: bool = False
    skip_existing: bool = False
    _seen: JsonObject = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_output(self.writers, self.suffix)

    def records(self, inputs: Iterable[Input]) -> Iterator[JsonObject]:
        """Yields the manifest's record of each image, in order, after its files are written. The
        record of an OSError in FATAL has "fatal": the run must stop."""
        notes = Notes()
        calls: Options = {
            "consume": self._save,
            "read": lambda one: self._read(one, notes),
            "options_for": self._own,
        }
        with notes.listening():
            for item in stream(self.model, inputs, **calls, **self.limits, **self.options):
                seen = self._seen.pop(item.source.key, {"file": None})
                yield _record(item, seen) | self.rule_of(item.source)

    def rule_of(self, one: Input) -> JsonObject:
        """Returns {"rule": the rule of the image's view, or its boxes}, or nothing: for an image
        that has neither, too."""
        try:
            if self.boxes is not None:
                return {"rule": {"boxes": boxes_of(one, self.boxes)}}
            if isinstance(self.model, Views) and (view := self.model.view_of(one.path)) is not None:
                return {"rule": self.rules[view]}
        except ValueError:  # it becomes the image's error when its turn comes
            pass
        return {}

    def place(self, one: Input) -> Place:
        """Returns the place of an image's results."""
        return Place(self.folder, one.stem, one.path, one.key, self.classes, self.suffix)

    def paths(self, one: Input) -> list[Path]:
        """Returns the paths of an image's results: files, and the folder of objects."""
        return [WRITERS[name].path(self.place(one)) for name in self.writers]

    def named(self, named: JsonObject) -> JsonObject:
        """Returns the manifest's options: the settings on which results depend, and what is
        written."""
        suffix = {} if self.suffix is None else {"output_suffix": self.suffix}
        return named | {"write": sorted(self.writers)} | suffix

    def _read(self, one: Input, notes: Notes) -> _core.Image:
        # The state of the file when it is read. A file that changes later is done again.
        seen: JsonObject = {"file": fingerprint(one.path)}
        self._seen[one.key] = seen
        if is_broken_link(one.path):
            raise FileNotFoundError(f"{one.path}: a broken link (to {os.readlink(one.path)})")
        if os.path.isdir(one.path):  # raises the reason why the folder may not be read
            os.listdir(one.path), os.stat(os.path.join(one.path, "."))
        with notes.collected() as found:
            image = to_image(one.path, lenient=self.lenient)
        if found:
            seen["notes"] = [note.removeprefix(f"{one.path}: ") for note in found]
        return image

    def _own(self, one: Input, _: object) -> Options:
        if isinstance(self.model, Views):
            return {"view": self.model.view_of(one.path)}
        return {} if self.boxes is None else {"boxes": boxes_of(one, self.boxes)}

    def _save(self, item: Streamed, pixels: NDArray[np.uint8]) -> list[str]:
        assert item.result is not None, "files are written of results"
        place = self.place(item.source)
        files = [f for name in self.writers for f in WRITERS[name](item.result, pixels, place)]
        return [f.relative_to(self.folder).as_posix() for f in files]


def boxes_of(one: Input, listed: JsonObject) -> list[object]:
    """The boxes of an image, by its key or its name. Raises ValueError where it has no entry."""
    found: list[object] | None = listed.get(one.key, listed.get(one.path.name))
    if found is None:
        raise ValueError(
            f'--boxes: no entry for {one.key}; add "{one.key}": [[x0, y0, x1, y1], ...] to the '
            "file, or [] where there are no boxes"
        )
    return found


def check_output(writers: list[str], suffix: str | None) -> None:
    """Raises ValueError for unknown writers, and for a suffix that is empty, that cannot be part of
    a name, or that is given without class pictures; ImportError where a writer's package is
    missing."""
    unknown = [w for w in writers if w not in WRITERS]
    if unknown:
        raise ValueError(f"--write: unknown {', '.join(unknown)}; there are {', '.join(WRITERS)}")
    if "parquet" in writers and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            '--write parquet: needs the package pyarrow (pip install "segrid[parquet]")'
        )
    if suffix is None:
        return
    if "classes" not in writers:
        raise ValueError("--output-suffix: names class pictures, so add classes to --write")
    if not suffix or "/" in suffix or "\0" in suffix:
        raise ValueError(
            f"--output-suffix: expected a part of a file's name such as _mask, got {suffix!r}"
        )


def _record(item: Streamed, seen: JsonObject) -> JsonObject:
    one: Input = item.source
    record: JsonObject = {"image": one.key, "seconds": item.seconds} | seen
    if item.error is None:
        return record | {
            "status": "done",
            "objects": len(item.result or ()),
            "outputs": item.output,
        }
    error = item.error
    if isinstance(error, OSError):
        if error.errno in FATAL:
            record["fatal"] = True
        # The error's text would show the name as b'...'.
        if isinstance(error.filename, bytes):
            error = type(error)(error.errno, error.strerror, os.fsdecode(error.filename))
    return record | {"status": "failed", "error": f"{type(error).__name__}: {error}"}


@dataclass
class RunStatus:
    """The images that are to be done, those that are done, and those that failed and are not tried
    again."""

    todo: list[Input] = field(default_factory=list)
    done: list[Input] = field(default_factory=list)
    failed: list[Input] = field(default_factory=list)


def run_status(job: Job, inputs: list[Input], named: JsonObject, retry: bool = False) -> RunStatus:
    """Returns what `run` would do with the same arguments. Writes nothing. Raises the errors that
    `run` raises before its first image."""
    return _status(job, inputs, read_records(job.folder, job.named(named)), retry)


def _status(job: Job, inputs: list[Input], records: Records, retry: bool) -> RunStatus:
    found = RunStatus()
    for one in inputs:
        if job.skip_existing and all(is_written(path) for path in job.paths(one)):
            found.done.append(one)
        elif not _stands(records.get(one.key), one, job):
            found.todo.append(one)
        elif records[one.key]["status"] == "done":
            found.done.append(one)
        else:
            (found.todo if retry else found.failed).append(one)
    _check_replaced(job, [one for one in found.todo if one.key not in records])
    return found


def _check_replaced(job: Job, new: list[Input]) -> None:
    """Raises ValueError naming a file that segrid did not write and that a result of these images,
    of which the manifest has no record, would replace. Where there is a manifest, or with
    skip_existing, only class pictures of a suffix can be such files."""
    if job.skip_existing or options_of(job.folder) is not None:
        names = [] if job.suffix is None else ["classes"]
    else:
        names = job.writers
    out = "another -o"
    if job.suffix is not None:
        out += ", another --output-suffix, or --skip-existing to leave such images as they are"
    for one in new:
        for path in (WRITERS[name].path(job.place(one)) for name in names):
            if path.exists() and not is_class_picture(path):
                raise ValueError(
                    f"{path}: segrid did not write this file, and would replace it; give {out}"
                )


def _stands(record: JsonObject | None, one: Input, job: Job) -> bool:
    """Whether an earlier run's record is still valid: the file and its view's rule have not
    changed, and its outputs exist under the names that they would have now (those of a.png change
    when there is an a.jpg, too)."""
    if (
        record is None
        or record["file"] != fingerprint(one.path)
        or record.get("rule") != job.rule_of(one).get("rule")
    ):
        return False
    if record["status"] == "failed":
        return True
    outputs = {job.folder / file for file in record["outputs"]}
    return outputs <= set(job.paths(one)) and all(path.exists() for path in outputs)


@dataclass
class Summary:
    """The outcome of a run."""

    done: int = 0  # images, including those of earlier runs
    skipped: int = 0  # images, done or failed, that earlier runs processed
    earlier: int = 0  # images that earlier runs did
    failed: list[tuple[str, str]] = field(default_factory=list)  # image, reason
    notes: list[tuple[str, str]] = field(default_factory=list)  # image, warning of reading it
    stopped: str | None = None  # the reason if the run ended before its last image


def run(
    job: Job,
    inputs: list[Input],
    named: JsonObject,
    each: Callable[[JsonObject], None] | None = None,
    retry: bool = False,
    make_records: Callable[[Job, list[Input]], Iterator[JsonObject]] | None = None,
    on_status: Callable[[RunStatus], None] | None = None,
) -> Summary:
    """Does the job for every input that the folder's manifest does not contain yet.

    named : settings on which the results depend, as kept in the manifest
    each : called with each record
    retry : images that failed are tried again
    make_records : makes the records of inputs; default: this process (`Job.records`)
    on_status : called once, before the first image

    A full or read-only disk stops the run; it can be resumed. Raises OtherOptions, BlockingIOError
    and OSError; ValueError if a result would replace a file that segrid did not write."""
    job.folder.mkdir(parents=True, exist_ok=True)
    if options_of(job.folder) is None:
        run_status(job, inputs, named)  # raises before there is a manifest
    manifest = Manifest(job.folder, job.named(named))
    try:
        found = _status(job, inputs, manifest.records, retry)
        if on_status is not None:
            on_status(found)
        summary = Summary(skipped=len(found.done) + len(found.failed), earlier=len(found.done))
        records = (make_records or Job.records)(job, found.todo)
        for record in records:
            if record.pop("fatal", False):
                summary.stopped = record["error"]
                records.close()  # type: ignore[attr-defined]
                break
            manifest.add(record)
            if each is not None:
                each(record)
        # Some of these have no record.
        kept = {one.key for one in found.done}
        held = [manifest.records[one.key] for one in inputs if one.key in manifest.records]
        summary.failed = [
            (r["image"], r["error"])
            for r in held
            if r["status"] == "failed" and r["image"] not in kept
        ]
        summary.done = len(kept | {r["image"] for r in held if r["status"] == "done"})
        summary.notes = [(r["image"], note) for r in held for note in r.get("notes", ())]
        if summary.stopped is None:
            summary.notes += _finish(job, inputs, dict(summary.failed))
        return summary
    finally:
        manifest.close()


def _finish(job: Job, inputs: list[Input], failed: dict[str, str]) -> list[tuple[str, str]]:
    """Writes the files about all images: quarantined.json, coco.json (joined from the images' own
    files), and classes.json (the values of class pictures). Returns the images whose files could
    not be joined, and the reasons."""
    notes: list[tuple[str, str]] = []
    bad = {
        one.key: failed[one.key].replace(str(one.path), one.key)
        for one in inputs
        if one.key in failed
    }
    write_text(job.folder / "quarantined.json", json.dumps(bad, indent=1) + "\n")
    if "classes" in job.writers:
        values = {str(value): name for name, value in job.classes.values().items()}
        write_text(job.folder / "classes.json", json.dumps(values, indent=1) + "\n")
    if "coco" in job.writers:
        own = {
            WRITERS["coco"].path(job.place(one)): one.key for one in inputs if one.key not in bad
        }
        merge(
            own,
            job.folder / "coco.json",
            job.classes,
            lambda path, why: notes.append((own[Path(path)], f"not in coco.json: {why}")),
        )
    return notes
