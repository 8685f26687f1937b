"""COCO files with stable numbers: of one image, of a run, of several runs.

Categories are numbered by their position among the prompts (or among the views and the classes of
each). All are listed, even those of which nothing was found. An image's id follows from its name
and its file's content; an annotation's id follows from the image and from all that was found in it.
Both are below 2**53. The files of two runs can therefore be joined: the same image has the same id,
and different images have different ids, even if two folders each hold a 0001.jpg."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from segrid._files import atomic_write, read_json, sha1
from segrid._types import JsonObject
from segrid.detections import Detections
from segrid.folders.classes import Classes
from segrid.results import Masks


def image_id(name: str, file: Path) -> int:
    """Returns a number from 1 to 2**52 that depends on an image's name among the inputs and on its
    content. Raises OSError."""
    return _number(os.fsencode(name), sha1(file))


def _number(*parts: bytes) -> int:
    digest = hashlib.sha1(b"\0".join(parts)).digest()
    return int.from_bytes(digest[:8], "big") % 2**52 + 1


def of_image(result: Masks | Detections, name: str, file: Path, classes: Classes) -> JsonObject:
    """Returns the COCO file of one image's result. name : its file_name."""
    height, width = result.size
    number = image_id(name, file)
    found = {}
    if isinstance(result, Detections):
        kinds = zip(result.labels, result.class_id.tolist(), strict=True)
        found = {label: classes.category(label, kind) for label, kind in kinds}
        labels = result.labels
    else:
        labels = [classes.names[0]] * len(result)
    annotations = result.to_coco(image_id=number)
    for annotation, label in zip(annotations, labels, strict=True):
        annotation["category_id"] = found.get(label, 1)
    content = json.dumps(annotations).encode()
    first = _number(str(number).encode(), content)
    for place, annotation in enumerate(annotations):
        annotation["id"] = first + place
    image = {"id": number, "file_name": name, "height": height, "width": width}
    return {"images": [image], "annotations": annotations, "categories": classes.categories(found)}


def merge(
    files: Iterable[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    classes: Classes | None = None,
    refused: Callable[[str | os.PathLike[str], Exception], Any] | None = None,
) -> None:
    """Joins COCO files of images or of runs into one file, which is written completely or not at
    all.

    A category keeps its number if that is free; otherwise it gets the next free one. The same name
    is the same category. An image that is in several files appears once, with the annotations of
    all files; equal annotations appear once.

    classes : are listed first, with their numbers
    refused : called with each file that cannot be joined, and the reason; the other files are
        joined. If it is None, the first such file raises an error

    Raises ValueError if two images, or two annotations, have the same id (possible in files that
    segrid did not write), or if a file is not COCO; and OSError."""
    joined = _Joined([] if classes is None else classes.categories())
    # Annotations are written one by one, because there may be many.
    with atomic_write(target) as part, open(part, "w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        comma = "\n"
        for path in files:
            try:
                annotations = joined.add(path)
            except (ValueError, OSError) as error:
                if refused is None:
                    raise
                refused(path, error)
                continue
            for annotation in annotations:
                file.write(comma + annotation)
                comma = ",\n"
        images, categories = list(joined.images.values()), list(joined.categories.values())
        categories.sort(key=lambda category: category["id"])
        file.write(f'],\n"images": {json.dumps(images)}, "categories": {json.dumps(categories)}}}')


class _Joined:
    """The data joined so far: images by id, categories by name."""

    def __init__(self, categories: list[JsonObject]) -> None:
        self.images: dict[int, JsonObject] = {}
        self.categories = {category["name"]: category for category in categories}
        self._taken = {category["id"] for category in categories}
        self._hashes: dict[int, int] = {}  # hashes of annotations, by id

    def add(self, path: str | os.PathLike[str]) -> list[str]:
        """Returns the new annotations of a file, as JSON. A file that cannot be joined changes
        nothing."""
        own = _read(path)
        images: dict[int, JsonObject] = {}
        for image in own["images"]:
            other = self.images.get(image["id"]) or images.setdefault(image["id"], image)
            if other != image:
                raise ValueError(
                    f"{os.fspath(path)}: image id {image['id']} is that of "
                    f"{image['file_name']} here, and of {other['file_name']} elsewhere"
                )
        categories: dict[str, JsonObject] = {}
        for category in own["categories"]:
            if category["name"] not in self.categories:
                taken = self._taken | {one["id"] for one in categories.values()}
                number = max(taken) + 1 if category["id"] in taken else category["id"]
                categories.setdefault(category["name"], category | {"id": number})
        known = self.categories | categories
        number_of = {one["id"]: known[one["name"]]["id"] for one in own["categories"]}
        hashes: dict[int, int] = {}
        new = []
        for annotation in own["annotations"]:
            number = annotation["id"]
            text = json.dumps(annotation | {"category_id": number_of[annotation["category_id"]]})
            if self._hashes.get(number, hashes.get(number, hash(text))) != hash(text):
                raise ValueError(
                    f"{os.fspath(path)}: annotation id {number} is that of another "
                    "annotation elsewhere"
                )
            if number not in self._hashes and number not in hashes:
                hashes[number] = hash(text)
                new.append(text)
        self.images |= images
        self.categories |= categories
        self._taken |= {one["id"] for one in categories.values()}
        self._hashes |= hashes
        return new


def _read(path: str | os.PathLike[str]) -> JsonObject:
    """Reads a COCO file and checks that its images, annotations and categories have the fields that
    joining needs."""
    own = read_json(path)
    parts: dict[str, dict[str, type]] = {
        "images": {"id": int, "file_name": str},
        "annotations": {"id": int, "category_id": int},
        "categories": {"id": int, "name": str},
    }
    if not isinstance(own, dict) or not own.keys() >= parts.keys():
        raise ValueError(
            f"{os.fspath(path)}: not a COCO file; it needs images, annotations and categories"
        )
    for part, needs in parts.items():
        if not isinstance(own[part], list):
            raise ValueError(f"{os.fspath(path)}: not a COCO file; {part} must be a list")
        for place, one in enumerate(own[part]):
            if not isinstance(one, dict) or any(
                type(one.get(name)) is not kind for name, kind in needs.items()
            ):
                raise ValueError(
                    f"{os.fspath(path)}: not a COCO file; {part}[{place}] needs "
                    + " and ".join(f"{name} ({kind.__name__})" for name, kind in needs.items())
                )
    listed = {category["id"] for category in own["categories"]}
    for place, one in enumerate(own["annotations"]):
        if one["category_id"] not in listed:
            raise ValueError(
                f"{os.fspath(path)}: not a COCO file; category_id {one['category_id']} of "
                f"annotations[{place}] is not among its categories"
            )
    return own
