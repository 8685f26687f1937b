"""Fields of nuclei: many images, their tables and centroids."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from segrid._image import MAX_PIXELS
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
    from segrid.folders.writers import WRITERS, Place, table_of

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
        place = Place(folder, stems[one.index], files[one.index], files[one.index].name)
        return table_of(masks, pixels), [f for name in write for f in WRITERS[name](masks, pixels, place)]

    out = []
    for one in stream(segmenter, range(len(files)), consume=save, image_batch_size=workers, read=lambda number: read_field(files[number]), options_for=expected):
        if one.error is not None:
            out.append(FieldResult(files[one.index], [], np.zeros((0, 2)), None, [], one.error))
        else:
            table, written = one.output
            centroids = np.array([[row["centroid_x"], row["centroid_y"]] for row in table]).reshape(-1, 2)
            out.append(FieldResult(files[one.index], table, centroids, Masks(cast("Masks", one.result)._native), written))
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
    """An image for the segmenter: (H, W, 3) uint8 RGB of TIFFs of more than 8 bits or with channels in planes of their own; everything else as its path.

    Of a stack the first plane is taken, of channels the first three (two are red and green). 16 bits and floats become 8 by their own range: each channel's
    0.1st percentile becomes 0, its 99.9th 255 (micro-sam scales by minimum and maximum, which one hot pixel spoils); 8 bits stay as they are.
    Raises ImportError where such a TIFF needs the tifffile package, ValueError above MAX_PIXELS, and what `read_image` raises.
    """
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return path
    with open(path, "rb") as file:  # the errors of files that are missing, folders or not permitted
        if not file.read(4).startswith((b"II", b"MM")):
            return path  # the engine says what it is
    try:
        import tifffile
    except ImportError as error:
        if _plain(path):
            return path
        raise ImportError(f"{os.fspath(path)}: TIFFs of more than 8 bits or of several planes need the tifffile package (pip install tifffile)") from error
    try:
        with tifffile.TiffFile(path) as opened:
            page: Any = opened.pages[0]
            planes: Any = opened.series[0] if opened.series else page
            channels = "C" in planes.axes and len(planes.shape) > 2 and planes.shape[planes.axes.index("C")] <= 8
            if page.dtype == np.uint8 and not channels and page.photometric is not None:
                return path
            height, width = page.imagelength, page.imagewidth
            if height * width > MAX_PIXELS:
                raise ValueError(f"{os.fspath(path)}: {width} x {height} pixels; the limit is {MAX_PIXELS} (MAX_PIXELS)")
            array = page.asarray()
            if channels and array.ndim == 2:  # a page for each channel
                array = np.stack([opened.pages[i].asarray() for i in range(min(3, planes.shape[planes.axes.index("C")], len(opened.pages)))], -1)
    except (MemoryError, OSError, ValueError) as error:
        if isinstance(error, ValueError) and not str(error).startswith(os.fspath(path)):
            raise CorruptFileError(f"{os.fspath(path)}: cannot be read as a TIFF ({error})") from error
        raise
    except Exception as error:  # the library raises many kinds
        raise CorruptFileError(f"{os.fspath(path)}: cannot be read as a TIFF ({error})") from error
    if array.ndim == 3 and array.shape[0] <= 8 < min(array.shape[1:]):
        array = np.moveaxis(array, 0, -1)
    while array.ndim > 3:
        array = array[0]
    if array.ndim == 3 and array.shape[-1] > 8:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{os.fspath(path)}: a page of shape {array.shape}; expected (H, W), (C, H, W) or (H, W, C)")
    parts = [normalised(array[..., c], os.fspath(path)) for c in range(min(3, array.shape[-1]))]
    if len(parts) == 1:
        parts *= 3
    elif len(parts) == 2:
        parts.append(np.zeros_like(parts[0]))
    return np.ascontiguousarray(np.stack(parts, -1))


def _plain(path: str | os.PathLike[str]) -> bool:
    """Whether Pillow reads it as one picture of 8 bits."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return opened.mode in ("L", "P", "RGB", "RGBA", "CMYK", "1", "LA") and getattr(opened, "n_frames", 1) == 1
    except OSError:
        return True  # the engine says what is wrong


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
    """Names of the outputs: a file's own, with its number where it is taken."""
    taken: set[str] = set()
    out: list[str] = []
    for i, file in enumerate(files):
        stem = next(s for s in (file.stem, *(f"{file.stem}-{n}" for n in range(i + 1, i + 2 + len(files)))) if s not in taken)
        taken.add(stem)
        out.append(stem)
    return out
