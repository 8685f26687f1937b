"""One run over the images of folders: resumable, bad files set aside, all outputs functions of inputs and options."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segrid.folders.inputs import Input
from segrid.folders.manifest import Manifest, fingerprint
from segrid.folders.writers import WRITERS, write_text
from segrid.microscopy import read_field
from segrid.streaming import Streamed, stream

FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # of the place, not of the image


@dataclass
class Summary:
    """How a run ended."""

    done: int = 0          # images, with those of earlier runs
    skipped: int = 0       # of them, by earlier runs
    failed: list[tuple[str, str]] = field(default_factory=list)  # image, why
    stopped: str | None = None  # why the run ended before its last image


def run(model: Any, inputs: list[Input], folder: Path, writers: list[str], options: dict[str, Any], named: dict[str, Any],
        each: Callable[[dict[str, Any]], None] | None = None, of_image: Callable[[Input], dict[str, Any]] | None = None, retry: bool = False,
        in_flight: int | None = None) -> Summary:
    """Segments every input that the folder's manifest does not hold yet.

    options : of the model, for every image; of_image(input): more of them for one
    named : what the results depend on, as kept in the manifest
    each : called with each record, in the inputs' order
    retry : images that failed are tried again
    in_flight : images at once, `stream`'s

    A disk that is full or read-only stops the run; it can be resumed. Raises OtherOptions, BlockingIOError, OSError.
    """
    unknown = [w for w in writers if w not in WRITERS]
    if unknown:
        raise ValueError(f"--write: unknown {', '.join(unknown)}; there are {', '.join(WRITERS)}")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(folder, named | {"write": sorted(writers)})
    try:
        todo = [one for one in inputs if not _held(manifest.records.get(one.key), one, folder, retry)]
        summary = Summary(skipped=len(inputs) - len(todo))

        def save(item: Streamed, pixels: np.ndarray) -> list[str]:
            one = item.source
            files = [f for name in writers for f in WRITERS[name](item.result, pixels, folder, one.stem)]
            return [f.relative_to(folder).as_posix() for f in files]

        own = (lambda one, _: of_image(one)) if of_image is not None else None
        results = stream(model, todo, consume=save, in_flight=in_flight, read=lambda one: read_field(one.path), options_for=own, **options)
        for item in results:
            one = item.source
            if isinstance(item.error, OSError) and item.error.errno in FATAL:
                summary.stopped = str(item.error)
                results.close()  # type: ignore[attr-defined]
                break
            record: dict[str, Any] = {"image": one.key, "file": fingerprint(one.path), "seconds": item.seconds}
            if item.error is None:
                record |= {"status": "done", "objects": len(item.result or ()), "outputs": item.output}
            else:
                record |= {"status": "failed", "error": f"{type(item.error).__name__}: {item.error}"}
            manifest.add(record)
            if each is not None:
                each(record)
        held = [manifest.records[one.key] for one in inputs if one.key in manifest.records]
        summary.done = sum(r["status"] == "done" for r in held)
        summary.failed = [(r["image"], r["error"]) for r in held if r["status"] == "failed"]
        if summary.stopped is None:
            _finish(folder, inputs, manifest, writers)
        return summary
    finally:
        manifest.close()


def _held(record: dict[str, Any] | None, one: Input, folder: Path, retry: bool) -> bool:
    """Whether an earlier run's record stands: the file is as it was, its outputs are there."""
    if record is None or record["file"] != fingerprint(one.path):
        return False
    if record["status"] == "failed":
        return not retry
    return all((folder / file).exists() for file in record["outputs"])


def _finish(folder: Path, inputs: list[Input], manifest: Manifest, writers: list[str]) -> None:
    """What is made of all images: quarantined.json, and coco.json of the images' own."""
    bad = {one.key: manifest.records[one.key]["error"].replace(str(one.path), one.key) for one in inputs if manifest.records[one.key]["status"] == "failed"}
    write_text(folder / "quarantined.json", json.dumps(bad, indent=1) + "\n")
    if "coco" not in writers:
        return
    merged: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    for one in inputs:
        if one.key in bad:
            continue
        own = json.loads((folder / "coco" / f"{one.stem}.json").read_text(encoding="utf-8"))
        number = len(merged["images"]) + 1
        merged["images"].append(own["images"][0] | {"id": number, "file_name": one.key})
        merged["annotations"] += [a | {"id": len(merged["annotations"]) + i + 1, "image_id": number} for i, a in enumerate(own["annotations"])]
        merged["categories"] += [c for c in own["categories"] if c not in merged["categories"]]
    write_text(folder / "coco.json", json.dumps(merged))
