"""Results to files, each a function of image and options alone; whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segrid._files import whole, write_text
from segrid.detections import Detections
from segrid.results import Masks

Writer = Callable[[Any, np.ndarray, Path, str], list[Path]]


def _picture(path: Path, array: np.ndarray, form: str = "PNG") -> Path:
    from PIL import Image

    with whole(path) as part:
        Image.fromarray(array).save(part, form)
    return path


def masks_of(result: Masks | Detections) -> Masks:
    """Raises ValueError for boxes without masks."""
    masks = result.masks if isinstance(result, Detections) else result
    if masks is None:
        raise ValueError("there are boxes alone; masks need a segmenter")
    return masks


def coco(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """coco/STEM.json: one image's COCO file."""
    height, width = result.size
    names = sorted(set(result.labels), key=result.labels.index) if isinstance(result, Detections) else ["object"]
    categories = [{"id": int(result.class_id[result.labels.index(n)]) + 1 if isinstance(result, Detections) else 1, "name": n} for n in names]
    return [write_text(folder / "coco" / f"{stem}.json", json.dumps({
        "images": [{"id": 1, "file_name": stem, "height": height, "width": width}], "annotations": result.to_coco(image_id=1), "categories": categories}))]


def labels(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """labels/STEM.png: 16-bit labels. Raises ValueError above 65535 objects."""
    found = masks_of(result).label_map()
    if found.dtype.itemsize > 2:
        raise ValueError(f"{len(masks_of(result))} masks do not fit a 16-bit PNG; use --write tiff")
    return [_picture(folder / "labels" / f"{stem}.png", found)]


def tiff(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """labels/STEM.tif: 32-bit labels."""
    return [_picture(folder / "labels" / f"{stem}.tif", masks_of(result).label_map().astype(np.int32), "TIFF")]


def overlay(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """overlay/STEM.png: objects in colours over the image."""
    return [_picture(folder / "overlay" / f"{stem}.png", result.picture(image))]


def objects(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """objects/STEM/0001.png ...: a binary PNG (0, 255) for each object."""
    shutil.rmtree(folder / "objects" / stem, ignore_errors=True)  # an earlier version of the image may have had more
    return [_picture(folder / "objects" / stem / f"{i + 1:04d}.png", one.array[0].astype(np.uint8) * 255) for i, one in enumerate(masks_of(result))]


def table(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """table/STEM.csv: a row for each object."""
    text = io.StringIO()
    rows = table_of(result, image)
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return [write_text(folder / "table" / f"{stem}.csv", text.getvalue())]


def geojson(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """geojson/STEM.geojson: a (Multi)Polygon of pixel corners (x to the right, y down) for each object."""
    masks = masks_of(result)
    features = []
    for i, (polygons, score, area) in enumerate(zip(masks.polygons(), masks.scores.tolist(), masks.areas.tolist(), strict=True)):
        shapes = [[[*ring.tolist(), ring[0].tolist()] for ring in rings] for rings in polygons]
        geometry = {"type": "Polygon", "coordinates": shapes[0]} if len(shapes) == 1 else {"type": "MultiPolygon", "coordinates": shapes}
        label = result.labels[i] if isinstance(result, Detections) else "object"
        features.append({"type": "Feature", "id": i + 1, "geometry": geometry, "properties": {"label": label, "score": score, "area": area}})
    return [write_text(folder / "geojson" / f"{stem}.geojson", json.dumps({"type": "FeatureCollection", "features": features}))]


def parquet(result: Any, image: np.ndarray, folder: Path, stem: str) -> list[Path]:
    """table/STEM.parquet: the CSV's columns and rle (COCO's counts as text). Needs the pyarrow package."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    rows = [row | {"rle": rle["counts"].decode()} for row, rle in zip(table_of(result, image), masks_of(result).rle, strict=True)]
    schema = pa.schema([(c, pa.int64() if c in ("id", "area") else pa.string() if c in ("label", "rle") else pa.float64()) for c in [*COLUMNS, "rle"]])
    columns = {c: [None if row[c] == "" else row[c] for row in rows] for c in schema.names}
    target = folder / "table" / f"{stem}.parquet"
    with whole(target) as part:
        pq.write_table(pa.table(columns, schema=schema), part)
    return [target]


COLUMNS = ["id", "label", "score", "detection_score", "area", "x0", "y0", "x1", "y1", "centroid_x", "centroid_y", "major_axis", "minor_axis", "angle",
           "mean_red", "mean_green", "mean_blue"]


def table_of(result: Masks | Detections, image: np.ndarray) -> list[dict[str, Any]]:
    """A row for each object: box with inclusive maximum, score the predicted IoU, the rest as `Masks.measure`."""
    masks = masks_of(result)
    numbers, boxes, areas, scores = masks.measure(image), masks.boxes.tolist(), masks.areas.tolist(), masks.scores.tolist()
    rows = []
    for i in range(len(masks)):
        found: dict[str, Any] = {"label": "object", "detection_score": ""}
        if isinstance(result, Detections):
            found = {"label": result.labels[i], "detection_score": float(result.scores[i])}
        values = [*numbers["centroid"][i].tolist(), *numbers["axes"][i].tolist(), float(numbers["angle"][i]), *numbers["intensity"][i].tolist()]
        rows.append({"id": i + 1, "score": scores[i], "area": areas[i], **found, **dict(zip(COLUMNS[5:9], boxes[i], strict=True)),
                     **dict(zip(COLUMNS[9:], values, strict=True))})
    return rows


WRITERS: dict[str, Writer] = {"coco": coco, "labels": labels, "tiff": tiff, "overlay": overlay, "objects": objects, "csv": table, "parquet": parquet,
                             "geojson": geojson}
DEFAULT = ("coco", "labels", "overlay")
