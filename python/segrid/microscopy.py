"""Fields of nuclei: many images, their tables and centroids."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from segrid._native import CorruptFileError, _core
from segrid.results import Masks
from segrid.segmenter import Segmenter
from segrid.streaming import Streamed, stream

# Of nuclei of about 10 micrometres, in pixels: 0.65 and 0.16 micrometres a pixel, as 6.5 micrometre cameras have behind 10x and 40x lenses.
DIAMETER_10X, DIAMETER_40X = 15.0, 60.0


@dataclass(frozen=True, eq=False)
class FieldResult:
    """One field.

    Attributes
    ----------
    path : the image
    table : a dict for each nucleus: id, area, box (inclusive maximum), score, centroid, ellipse axes, angle, mean intensity per channel (of the pixels as
        they were normalised), in image pixels
    centroids : (N, 2) float64, x, y
    masks : `Masks`, or None where it failed
    files : what was written
    error : why it failed, or None
    """

    path: Path
    table: list[dict[str, Any]]
    centroids: np.ndarray
    masks: Masks | None
    files: list[Path]
    error: Exception | None = None


def perform_parallel_segmentation(image_files: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str], is_10x: bool | Sequence[bool] = True,
                                  num_workers: int | None = None, *, diameter: float | None = None, model: Segmenter | str = "tiny",
                                  write: Sequence[str] = ("tiff", "csv", "overlay"), **options: Any) -> list[FieldResult]:
    """Segments the nuclei of many fields.

    Parameters
    ----------
    image_files : paths; TIFFs of any depth and number of channels as `read_field` reads them
    output_dir : gets labels/NAME.tif, table/NAME.csv, overlay/NAME.png (see `write`); equal names get their number
    is_10x : the lens: True 10x, False 40x; a list has one for each file, so that both kinds run in one call. It sets the expected diameter of a nucleus,
        15 and 60 pixels; from which follow the grid (three points along a diameter of 40x, one and a half along one of 10x) and the least area (a fifth of a
        disc of that diameter)
    num_workers : most images at once; default: CPUs less one, at least one. Each is computed by one thread of the process's budget
    diameter : the expected diameter instead, pixels
    model : a Segmenter, or a model as it takes it
    options : of `Segmenter.everything`, over those that follow from the diameter

    Returns a `FieldResult` for each file, in their order; a file that cannot be read is one with an `error`.
    Raises ValueError for lengths that differ, num_workers below 1, a diameter below 2 pixels.
    """
    from segrid.folders.writers import WRITERS, table_of

    files = [Path(f) for f in image_files]
    lenses = list(is_10x) if isinstance(is_10x, (list, tuple, np.ndarray)) else [bool(is_10x)] * len(files)
    if len(lenses) != len(files):
        raise ValueError(f"is_10x: {len(lenses)} values for {len(files)} images")
    workers = max(1, _core.available_cpus() - 1) if num_workers is None else num_workers
    if workers < 1:
        raise ValueError(f"num_workers: must be at least 1, got {workers}")
    if diameter is not None and not 2 <= diameter < math.inf:
        raise ValueError(f"diameter: must be at least 2 pixels, got {diameter}")
    unknown = [w for w in write if w not in WRITERS]
    if unknown:
        raise ValueError(f"write: unknown {', '.join(unknown)}; there are {', '.join(WRITERS)}")
    segmenter = model if isinstance(model, Segmenter) else Segmenter(model)
    folder, stems = Path(output_dir), _stems(files)
    folder.mkdir(parents=True, exist_ok=True)

    def expected(number: int, pixels: np.ndarray) -> dict[str, Any]:
        size = diameter or (DIAMETER_10X if lenses[number] else DIAMETER_40X)
        return options_for(size, pixels.shape[:2], segmenter.working_scale) | options

    def save(one: Streamed, pixels: np.ndarray) -> tuple[list[dict[str, Any]], list[Path]]:
        masks = cast("Masks", one.result)
        return table_of(masks, pixels), [f for name in write for f in WRITERS[name](masks, pixels, folder, stems[one.index])]

    out = []
    for one in stream(segmenter, range(len(files)), consume=save, in_flight=workers, read=lambda number: read_field(files[number]), options_for=expected):
        if one.error is not None:
            out.append(FieldResult(files[one.index], [], np.zeros((0, 2)), None, [], one.error))
        else:
            table, written = one.output
            centroids = np.array([[row["centroid_x"], row["centroid_y"]] for row in table]).reshape(-1, 2)
            out.append(FieldResult(files[one.index], table, centroids, cast("Masks", one.result), written))
    return out


def options_for(diameter: float, size: tuple[int, int], working_scale: float | None) -> dict[str, Any]:
    """Grid, crops and least area of `everything` for things of that diameter in an image of that size (H, W), pixels.

    Crops are as small as the model's working scale asks (or as 20 diameters are, where it names none); the grid in each has a point every 0.6 diameters, from 8 to
    64 along a side; masks below a fifth of the disc are dropped.
    """
    longest = max(size)
    target = working_scale or 20 * diameter
    layers = min(3, max(0, math.ceil(math.log2(max(1.0, longest / target)))))
    side = longest / 2**layers * (1 + 512 / 1500)
    return {"points_per_side": int(np.clip(round(side / (0.6 * diameter)), 8, 64)), "crop_n_layers": layers,
            "min_area_frac": min(1.0, 0.2 * math.pi / 4 * diameter**2 / (size[0] * size[1]))}


def read_field(path: str | os.PathLike[str]) -> Any:
    """An image for the segmenter: TIFFs as (H, W, 3) uint8 RGB, everything else as its path.

    A TIFF's first page (or its (C, H, W) or (H, W, C) channels, of which the first three are taken; two are red and green) goes from 16 bits or floats to 8 by
    its own range: each channel's 0.1st percentile becomes 0, its 99.9th 255 (micro-sam scales by minimum and maximum, which one hot pixel spoils). 8-bit TIFFs
    stay as they are. Needs the tifffile package for TIFFs of more than 8 bits; ImportError says so.
    Raises what `read_image` raises.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return path
    try:
        import tifffile
    except ImportError:
        return path
    with open(path, "rb"):  # the errors of files that are missing, folders or not permitted
        pass
    try:
        array = tifffile.imread(path)
    except Exception as error:  # the library raises many kinds
        raise CorruptFileError(f"{os.fspath(path)}: cannot be read as a TIFF ({error})") from error
    while array.ndim > 3:
        array = array[0]
    if array.ndim == 3 and array.shape[0] < min(array.shape[1:]) and (array.shape[0] <= 8 or array.shape[2] > 8):
        array = np.moveaxis(array, 0, -1) if array.shape[0] <= 8 else array[0][..., None]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{os.fspath(path)}: pages of shape {array.shape}; expected (H, W), (C, H, W) or (H, W, C)")
    channels = [normalised(array[..., c], os.fspath(path)) for c in range(min(3, array.shape[-1]))]
    if len(channels) == 1:
        channels *= 3
    elif len(channels) == 2:
        channels.append(np.zeros_like(channels[0]))
    return np.ascontiguousarray(np.stack(channels, -1))


def normalised(channel: np.ndarray, name: str = "image") -> np.ndarray:
    """(H, W) uint8 by the rule of `read_field`. Raises ValueError for NaN and Inf."""
    if channel.dtype == np.uint8:
        return channel
    values = channel.astype(np.float64)
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"{name}: {bad} of {values.size} values are NaN or Inf")
    low, high = np.percentile(values, (0.1, 99.9))
    if high <= low:
        low, high = values.min(), max(values.max(), values.min() + 1)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _stems(files: list[Path]) -> list[str]:
    """Names of the outputs: a file's own, with its number where it comes twice."""
    out: list[str] = []
    for i, file in enumerate(files):
        out.append(file.stem if [f.stem for f in files].count(file.stem) == 1 else f"{file.stem}-{i + 1}")
    return out
