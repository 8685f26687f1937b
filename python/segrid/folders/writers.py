"""Writes results to files. Each file depends only on image and options, and is written completely
or not at all."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._files import atomic_write, write_text
from segrid._types import JsonObject
from segrid.detections import Detections
from segrid.folders.classes import Classes
from segrid.folders.coco import of_image
from segrid.results import Masks

SEGMENTED = Classes(("object",))  # the classes without a detector
UNFINISHED = ".unfinished"  # a file in a folder of objects that is being written


@dataclass(frozen=True)
class Place:
    """The place of one image's results.

    folder : folder of all results
    stem : name of this image's results, possibly with folders
    file : the image's file
    name : file_name in COCO files
    classes : the classes that can be found
    suffix : class pictures are written as STEM + suffix directly in the folder; None: in a folder
        of their own"""

    folder: Path
    stem: str
    file: Path
    name: str
    classes: Classes = SEGMENTED
    suffix: str | None = None


@dataclass(frozen=True)
class Writer:
    """One kind of result. It is the file KIND/STEM + ending below the results' folder, and is
    written by write(result, pixels, path, place)."""

    kind: str
    ending: str
    write: Callable[[Masks | Detections, NDArray[np.uint8], Path, Place], None]

    def path(self, place: Place) -> Path:
        """Returns the file, or the folder if there are several files."""
        if self.kind == "classes" and place.suffix is not None:
            return place.folder / f"{place.stem}{place.suffix}{self.ending}"
        return place.folder / self.kind / f"{place.stem}{self.ending}"

    def __call__(
        self, result: Masks | Detections, image: NDArray[np.uint8], place: Place
    ) -> list[Path]:
        """Writes an image's result and returns the files. Raises ValueError and OSError."""
        path = self.path(place)
        self.write(result, image, path, place)
        return object_files(path) if self.kind == "objects" else [path]


def _picture(path: Path, array: NDArray[Any], form: str = "PNG", **more: Any) -> None:
    from PIL import Image

    with atomic_write(path) as part:
        Image.fromarray(array).save(part, form, **more)


def masks_of(result: Masks | Detections) -> Masks:
    """Returns the result's masks. Raises ValueError for boxes without masks."""
    masks = result.masks if isinstance(result, Detections) else result
    if masks is None:
        raise ValueError("there are only boxes; masks need a segmenter")
    return masks


def coco(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes one image's COCO file; see `segrid.folders.coco`."""
    write_text(path, json.dumps(of_image(result, place.name, place.file, place.classes)))


def labels(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes 16-bit labels. Raises ValueError above 65535 objects."""
    found = masks_of(result).label_map()
    if found.dtype.itemsize > 2:
        raise ValueError(f"{len(masks_of(result))} masks do not fit a 16-bit PNG; use --write tiff")
    _picture(path, found)


def tiff(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes 32-bit labels as TIFF."""
    _picture(path, masks_of(result).label_map().astype(np.int32), "TIFF")


def classes(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes a PNG whose pixels are the values of classes (see `Classes.value`), and 0 outside all
    objects. Where masks overlap, the higher score wins. It has 8 bits, or 16 if values exceed
    255."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Software", "segrid")
    _picture(path, class_map(result, place.classes), pnginfo=text)


def class_map(result: Masks | Detections, classes: Classes) -> NDArray[np.uint8 | np.uint16]:
    """Returns the class picture as (H, W) uint8 or uint16. Raises ValueError for values above
    65535."""
    masks, scores = masks_of(result), np.asarray(result.scores)
    names, kinds = [classes.names[0]] * len(masks), [0] * len(masks)
    if isinstance(result, Detections):
        names, kinds = result.labels, result.class_id.tolist()
    values = [classes.value(name, kind) for name, kind in zip(names, kinds, strict=True)]
    most = max([0, *classes.values().values(), *values])
    found = np.zeros(result.size, np.uint8 if most <= 255 else np.uint16)
    # The best is drawn last; among equal scores, the first one.
    for i in np.argsort(-scores, kind="stable")[::-1]:
        found[masks[i].array[0]] = values[i]
    return found


def is_class_picture(path: Path) -> bool:
    """Whether a file is a class picture that segrid wrote."""
    # Image.open would apply its own limit on pixels.
    from PIL.PngImagePlugin import PngImageFile

    try:
        with PngImageFile(path) as opened:
            return opened.info.get("Software") == "segrid"
    except (OSError, SyntaxError, ValueError):
        return False


def overlay(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes the objects in colours over the image."""
    _picture(path, result.picture(image))


def objects(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes a folder with a binary PNG (0, 255) for each object: 0001.png, ..."""
    path.mkdir(parents=True, exist_ok=True)
    (path / UNFINISHED).touch()
    # An earlier version of the image may have had more objects.
    for file in object_files(path):
        file.unlink()
    for i, one in enumerate(masks_of(result), 1):
        _picture(path / f"{i:04d}.png", one.array[0].astype(np.uint8) * 255)
    (path / UNFINISHED).unlink()


def is_written(path: Path) -> bool:
    """Whether a result is there and whole: a run that is killed leaves half a folder of objects."""
    return path.exists() and not (path / UNFINISHED).exists()


def object_files(folder: Path) -> list[Path]:
    """Returns the objects' files in an image's folder, which may also hold folders of other
    images."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(f for f in found if re.fullmatch(r"\d{4,}\.png", f.name) and f.is_file())


def table(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes a CSV table with a row for each object."""
    text = io.StringIO()
    rows = table_of(result, image)
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
    )
    write_text(path, text.getvalue())


def geojson(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes a (Multi)Polygon of pixel corners (x to the right, y down) for each object."""
    masks = masks_of(result)
    features = []
    for i, (polygons, score, area) in enumerate(
        zip(masks.polygons(), masks.scores.tolist(), masks.areas.tolist(), strict=True)
    ):
        shapes = [[[*ring.tolist(), ring[0].tolist()] for ring in rings] for rings in polygons]
        geometry = (
            {"type": "Polygon", "coordinates": shapes[0]}
            if len(shapes) == 1
            else {"type": "MultiPolygon", "coordinates": shapes}
        )
        label = result.labels[i] if isinstance(result, Detections) else "object"
        features.append(
            {
                "type": "Feature",
                "id": i + 1,
                "geometry": geometry,
                "properties": {"label": label, "score": score, "area": area},
            }
        )
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}))


def parquet(result: Masks | Detections, image: NDArray[np.uint8], path: Path, place: Place) -> None:
    """Writes the CSV's columns and rle (COCO's counts as text). Needs the pyarrow package."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    rows = [
        row | {"rle": rle["counts"].decode()}
        for row, rle in zip(table_of(result, image), masks_of(result).rle, strict=True)
    ]
    schema = pa.schema(
        [
            (
                c,
                pa.int64()
                if c in ("id", "area")
                else pa.string()
                if c in ("label", "rle")
                else pa.float64(),
            )
            for c in [*COLUMNS, "rle"]
        ]
    )
    columns = {c: [None if row[c] == "" else row[c] for row in rows] for c in schema.names}
    with atomic_write(path) as part:
        pq.write_table(pa.table(columns, schema=schema), part)


COLUMNS = [
    "id",
    "label",
    "score",
    "detection_score",
    "area",
    "x0",
    "y0",
    "x1",
    "y1",
    "centroid_x",
    "centroid_y",
    "major_axis",
    "minor_axis",
    "angle",
    "mean_red",
    "mean_green",
    "mean_blue",
]


def table_of(result: Masks | Detections, image: NDArray[np.uint8]) -> list[JsonObject]:
    """Returns a row for each object: its box with inclusive maximum, the predicted IoU as score,
    and the numbers of `Masks.measure`."""
    masks = masks_of(result)
    numbers, boxes, areas, scores = (
        masks.measure(image),
        masks.boxes.tolist(),
        masks.areas.tolist(),
        masks.scores.tolist(),
    )
    rows = []
    for i in range(len(masks)):
        found: JsonObject = {"label": "object", "detection_score": ""}
        if isinstance(result, Detections):
            found = {"label": result.labels[i], "detection_score": float(result.scores[i])}
        values = [
            *numbers["centroid"][i].tolist(),
            *numbers["axes"][i].tolist(),
            float(numbers["angle"][i]),
            *numbers["intensity"][i].tolist(),
        ]
        rows.append(
            {
                "id": i + 1,
                "score": scores[i],
                "area": areas[i],
                **found,
                **dict(zip(COLUMNS[5:9], boxes[i], strict=True)),
                **dict(zip(COLUMNS[9:], values, strict=True)),
            }
        )
    return rows


WRITERS: dict[str, Writer] = {
    "coco": Writer("coco", ".json", coco),
    "labels": Writer("labels", ".png", labels),
    "tiff": Writer("labels", ".tif", tiff),
    "classes": Writer("classes", ".png", classes),
    "overlay": Writer("overlay", ".png", overlay),
    "objects": Writer("objects", "", objects),
    "csv": Writer("table", ".csv", table),
    "parquet": Writer("table", ".parquet", parquet),
    "geojson": Writer("geojson", ".geojson", geojson),
}
