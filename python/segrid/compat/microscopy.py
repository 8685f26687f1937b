"""Fields of nuclei: many images, their tables and centroids."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from segrid._image import check_many
from segrid._native import available_cpus
from segrid.folders.stream import Streamed, stream
from segrid.folders.stream_options import check_options
from segrid.results import Masks
from segrid.segmenter import Segmenter

# Diameters, in pixels, of nuclei of about 10 micrometres. A camera whose pixels measure 6.5
# micrometres sees 0.65 and 0.16 micrometres a pixel through 10x and 40x lenses.
DIAMETER_10X, DIAMETER_40X = 15.0, 60.0


@dataclass(frozen=True, eq=False)
class FieldResult:
    """One field.

    Attributes
    ----------
    path : the image
    table : a dict for each nucleus: id, area, box (inclusive maximum), score, centroid, ellipse
        axes, angle, mean intensity per channel (of the pixels as they were normalised), in image
        pixels
    centroids : (N, 2) float64, x, y
    masks : `Masks` (without the image: give it to `picture` and `measure`), or None where it failed
    files : what was written
    error : why it failed, or None
    """

    path: Path
    table: list[dict[str, Any]]
    centroids: np.ndarray
    masks: Masks | None
    files: list[Path]
    error: Exception | None = None


def perform_parallel_segmentation(
    image_files: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    is_10x: bool | Sequence[bool] = True,
    num_workers: int | None = None,
    *,
    diameter: float | None = None,
    model: Segmenter | str = "tiny",
    write: Sequence[str] = ("tiff", "csv", "overlay"),
    **options: Any,
) -> list[FieldResult]:
    """Segments the nuclei of many fields.

    Parameters
    ----------
    image_files : paths; TIFFs of any depth and number of channels, by the rules of `read_image`
    output_dir : gets labels/NAME.tif, table/NAME.csv, overlay/NAME.png (see `write`); equal names
        get their number
    is_10x : the lens: True 10x, False 40x; a list has one for each file, so that both kinds run in
        one call. It sets the expected diameter of a nucleus, 15 and 60 pixels; from which follow
        the grid (three points along a diameter of 40x, one and a half along one of 10x) and the
        least area (a fifth of a disc of that diameter)
    num_workers : most images at once; default: CPUs less one, at least one. Each is computed by one
        thread of the process's budget
    diameter : the expected diameter instead, pixels
    model : a Segmenter, or a model as it takes it
    options : of `Segmenter.everything`, over those that follow from the diameter

    Returns a `FieldResult` for each file, in their order; a file that cannot be read is one with an
    `error`.
    Raises TypeError for a lone path and an unknown option, ValueError for lengths that differ,
    num_workers below 1, a diameter below 2 pixels.
    """
    from segrid.folders.writers import WRITERS, Place, table_of

    check_many(image_files, "image_files")
    files = [Path(f) for f in image_files]
    lenses = _lenses(is_10x, len(files))
    workers = max(1, available_cpus() - 1) if num_workers is None else num_workers
    if workers < 1:
        raise ValueError(f"num_workers: must be at least 1, got {workers}")
    if diameter is not None and not 2 <= diameter < math.inf:
        raise ValueError(f"diameter: must be at least 2 pixels, got {diameter}")
    unknown = [w for w in write if w not in WRITERS]
    if unknown:
        raise ValueError(f"write: unknown {', '.join(unknown)}; there are {', '.join(WRITERS)}")
    segmenter = model if isinstance(model, Segmenter) else Segmenter(model)
    check_options(segmenter, options, more_follow=False)
    folder, stems = Path(output_dir), _stems(files)
    folder.mkdir(parents=True, exist_ok=True)

    def expected(number: int, pixels: np.ndarray) -> dict[str, Any]:
        size = diameter or (DIAMETER_10X if lenses[number] else DIAMETER_40X)
        return options_for(size, pixels.shape[:2], segmenter.working_scale) | options

    def save(one: Streamed, pixels: np.ndarray) -> tuple[list[dict[str, Any]], list[Path]]:
        masks = cast("Masks", one.result)
        place = Place(folder, stems[one.index], files[one.index], files[one.index].name)
        return table_of(masks, pixels), [
            f for name in write for f in WRITERS[name](masks, pixels, place)
        ]

    out = []
    for one in stream(
        segmenter,
        range(len(files)),
        consume=save,
        image_batch_size=workers,
        read=lambda number: files[number],
        options_for=expected,
    ):
        if one.error is not None:
            out.append(FieldResult(files[one.index], [], np.zeros((0, 2)), None, [], one.error))
        else:
            table, written = one.output
            centroids = np.array([[row["centroid_x"], row["centroid_y"]] for row in table]).reshape(
                -1, 2
            )
            out.append(
                FieldResult(
                    files[one.index],
                    table,
                    centroids,
                    cast("Masks", one.result).over(None),
                    written,
                )
            )
    return out


def _lenses(is_10x: bool | Sequence[bool], count: int) -> list[bool]:
    """The lens of each of `count` files, as `perform_parallel_segmentation` takes them."""
    many = isinstance(is_10x, (list, tuple, np.ndarray))
    lenses = list(cast("Sequence[bool]", is_10x)) if many else [bool(is_10x)] * count
    if len(lenses) != count:
        raise ValueError(f"is_10x: {len(lenses)} values for {count} images")
    return lenses


def options_for(
    diameter: float, size: tuple[int, int], working_scale: float | None
) -> dict[str, Any]:
    """Grid, crops and least area of `everything` for things of a diameter.

    diameter, size : of the things, and (H, W) of the image, in pixels

    Crops are as small as the model's working scale asks, or 20 diameters where it names none. The
    grid in each crop has a point every 0.6 diameters, from 8 to 64 along a side. Masks below a
    fifth of the disc are dropped.
    """
    longest = max(size)
    target = working_scale or 20 * diameter
    layers = min(3, max(0, math.ceil(math.log2(max(1.0, longest / target)))))
    side = longest / 2**layers * (1 + 512 / 1500)
    return {
        "points_per_side": int(np.clip(round(side / (0.6 * diameter)), 8, 64)),
        "crop_n_layers": layers,
        "min_area_frac": min(1.0, 0.2 * math.pi / 4 * diameter**2 / (size[0] * size[1])),
    }


def _stems(files: list[Path]) -> list[str]:
    """Names of the outputs: a file's own, with its number where it is taken."""
    taken: set[str] = set()
    out: list[str] = []
    for i, file in enumerate(files):
        stem = next(
            s
            for s in (file.stem, *(f"{file.stem}-{n}" for n in range(i + 1, i + 2 + len(files))))
            if s not in taken
        )
        taken.add(stem)
        out.append(stem)
    return out
