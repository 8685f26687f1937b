"""Compares precisions on the user's own images.

The same call runs in several precisions, each in a process of its own.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segrid._types import JsonObject, Progress
from segrid.mask_matching import BoxedMask, Match, crop_to_box, match
from segrid.measuring.image_paths import existing_paths
from segrid.measuring.label_map import read_label_map
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.measuring.own_process import measured, serve
from segrid.measuring.packed_masks import packed, unpacked
from segrid.torch_names import Device, Precision, device_name, precision_name

Difference = tuple[str, str, float, NDArray[np.bool_], NDArray[np.bool_]]


@dataclasses.dataclass(frozen=True)
class PrecisionResult:
    """One precision over all images.

    seconds : of each stage (resize, encode, decode, scan, filter, total), the mean over the images
    weights_mb, working_mb : the resident memory that loading added, and the peak above it during
        the work (None where the system does not tell); on CUDA, memory of the device
    masks : the number of masks found; matched : of these, the masks of the same object as a mask
        of the reference; lost : masks of the reference without a match; new : masks without a match
    iou_mean, iou_min : mask IoU of the matched pairs; NaN without any
    ap50 : TP / (TP + FP + FN) against the labels at mask IoU 0.5, pooled over the images; None
        without labels
    """

    precision: str
    seconds: dict[str, float]
    weights_mb: float | None
    working_mb: float | None
    masks: int
    matched: int
    lost: int
    new: int
    iou_mean: float
    iou_min: float
    ap50: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    images : the absolute paths
    results : one per precision, the reference first
    refused : precision -> the reason why it does not run here
    worst : (precision, image, IoU, the reference's mask, the other mask) of the matched pair with
        the least IoU, masks (H, W) bool; None where all pairs are equal. Comparisons are equal
        whatever their `worst` is
    """

    model: str
    images: list[str]
    results: list[PrecisionResult]
    refused: dict[str, str]
    worst: Difference | None = dataclasses.field(compare=False)

    def picture(self, path: str | os.PathLike[str]) -> bool:
        """Writes the worst difference as a PNG; writes nothing and returns False without one.

        Pixels of both masks are yellow, those of the reference alone green, those of the other
        mask alone red.
        """
        if self.worst is None:
            return False
        precision, image, iou, reference, other = self.worst
        _draw(
            Path(path),
            image,
            f"{precision} against {self.results[0].precision}: mask IoU {iou:.3f}",
            reference,
            other,
        )
        return True


def compare(
    images: Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] = "tiny",
    precisions: Sequence[Precision] = ("fp32", "bf16", "int8"),
    labels: str | os.PathLike[str] | None = None,
    device: Device = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison:
    """Segments everything in every image in every precision, and measures what each precision
    costs and changes.

    images : paths
    precisions, device : as `Segmenter` takes them; the first precision is the reference; those that
        this CPU refuses are named in `refused`
    labels : a folder with a label map for every image, `<stem>.png` or .tif, of the image's size:
        0 is background, every other number is an object
    progress : called with {"precision", "image", "done", "total"} before each image
    options : of `Segmenter.everything`; crop_n_layers is "auto" unless it is given

    Raises ValueError (no images, no precision, labels that do not fit), FileNotFoundError, and
    RuntimeError with the message of a process that failed.
    """
    paths = existing_paths(images)
    if not paths or not precisions:
        raise ValueError("compare: give at least one image and one precision")
    job = {
        "model": os.fspath(model),
        "device": device_name(device),
        "images": paths,
        "threads": threads,
        "options": {"crop_n_layers": "auto"} | options,
    }
    names = [precision_name(precision) for precision in precisions]
    label_files = None if labels is None else [_label_file(Path(labels), Path(p)) for p in paths]
    rows = _Rows(paths, label_files)
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            out = Path(scratch) / f"{name}.npz"
            answer = measured(
                "compare",
                __name__,
                job | {"precision": name, "out": str(out)},
                name,
                partial(_tell, progress, name),
            )
            if "refused" in answer:
                refused[name] = answer["refused"]
            else:
                rows.add(answer, unpacked(out))
    if not rows.results:
        raise RuntimeError(
            "compare: none of the precisions runs here: "
            + "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        )
    return Comparison(str(model), paths, rows.results, refused, rows.worst)


def _tell(progress: Progress | None, precision: str, message: JsonObject) -> None:
    if progress is not None:
        progress(message | {"precision": precision})


class _Rows:
    """The results of the precisions, whose masks are compared with those of the first one.

    label_files : a label map for each image, or None
    """

    def __init__(self, paths: list[str], label_files: list[Path] | None) -> None:
        self.results: list[PrecisionResult] = []
        self.worst: Difference | None = None
        self._paths, self._label_files = paths, label_files
        self._reference: list[list[BoxedMask]] = []

    def add(self, answer: JsonObject, found: list[list[BoxedMask]]) -> None:
        """Adds a precision. answer : its figures; found : the masks of each image."""
        self._reference = self._reference or found
        pairs = [match(a, b) for a, b in zip(self._reference, found, strict=True)]
        ious = [iou for of_image in pairs for _, _, iou in of_image]
        least = min(ious, default=1.0)
        if self.results and least < (1.0 if self.worst is None else self.worst[2]):
            self.worst = self._least_similar(answer["precision"], pairs, found)
        masks = sum(map(len, found))
        self.results.append(
            PrecisionResult(
                answer["precision"],
                answer["seconds"],
                answer["weights_mb"],
                answer["working_mb"],
                masks,
                matched=len(ious),
                lost=sum(map(len, self._reference)) - len(ious),
                new=masks - len(ious),
                iou_mean=float(np.mean(ious)) if ious else float("nan"),
                iou_min=min(ious, default=float("nan")),
                ap50=None if self._label_files is None else _ap50(found, self._label_files),
            )
        )

    def _least_similar(
        self, precision: str, pairs: list[list[Match]], found: list[list[BoxedMask]]
    ) -> Difference:
        """The matched pair of masks with the least IoU, over all images."""
        image, (i, j, iou) = min(
            ((image, pair) for image, of_image in enumerate(pairs) for pair in of_image),
            key=lambda candidate: candidate[1][2],
        )
        reference, other = self._reference[image][i].pixels(), found[image][j].pixels()
        return precision, self._paths[image], iou, reference, other


def _label_file(folder: Path, image: Path) -> Path:
    for suffix in (".png", ".tif", ".tiff"):
        if (folder / (image.stem + suffix)).is_file():
            return folder / (image.stem + suffix)
    raise FileNotFoundError(f"{folder}: no label map {image.stem}.png or .tif for {image}")


def _ap50(found: list[list[BoxedMask]], maps: list[Path]) -> float:
    true = false = missed = 0
    for masks, file in zip(found, maps, strict=True):
        numbers = read_label_map(file)
        if masks and masks[0].size != numbers.shape:
            raise ValueError(
                f"{file}: {numbers.shape[1]} x {numbers.shape[0]} pixels, its image has "
                f"{masks[0].size[1]} x {masks[0].size[0]}"
            )
        truths = [crop_to_box(numbers == n) for n in np.unique(numbers) if n != 0]
        hits = len(match(truths, masks))
        true, false, missed = true + hits, false + len(masks) - hits, missed + len(truths) - hits
    return true / max(1, true + false + missed)


def _draw(
    path: Path, image: str, title: str, reference: NDArray[np.bool_], other: NDArray[np.bool_]
) -> None:
    from PIL import Image, ImageDraw

    from segrid._image import to_image

    union = crop_to_box(reference | other)
    (x0, y0, x1, y1), (height, width) = union.box, union.size
    margin = max(8, (x1 - x0) // 4, (y1 - y0) // 4)
    x0, y0, x1, y1 = (
        max(0, x0 - margin),
        max(0, y0 - margin),
        min(width, x1 + margin),
        min(height, y1 + margin),
    )
    photo = np.array(to_image(image).array)[y0:y1, x0:x1].astype(np.float32)
    a, b = reference[y0:y1, x0:x1], other[y0:y1, x0:x1]
    painted = photo * 0.6
    for where, colour in (
        (a & b, (255, 220, 60)),
        (a & ~b, (60, 220, 90)),
        (b & ~a, (240, 60, 70)),
    ):
        painted[where] = 0.45 * photo[where] + 0.55 * np.array(colour, np.float32)
    scale = max(1, round(480 / max(painted.shape[:2])))
    panels = [
        Image.fromarray(p.astype(np.uint8)).resize(
            (p.shape[1] * scale, p.shape[0] * scale), Image.Resampling.NEAREST
        )
        for p in (photo, painted)
    ]
    sheet = Image.new("RGB", (max(panels[0].width * 2 + 30, 560), panels[0].height + 64), "white")
    for i, panel in enumerate(panels):
        sheet.paste(panel, (10 + i * (panel.width + 10), 54))
    text = ImageDraw.Draw(sheet)
    text.text((10, 8), f"{title}, {Path(image).name}", fill="black", font_size=14)
    for i, (word, colour) in enumerate(
        (("both", (190, 150, 0)), ("reference only", (20, 150, 50)), ("other only", (210, 30, 50)))
    ):
        text.text((10 + 150 * i, 30), word, fill=colour, font_size=14)
    sheet.save(path)


def _main() -> None:
    """The process that measures one precision."""
    serve(_measure)


def _measure(job: JsonObject, send: Progress) -> None:
    """Measures one precision. Sends the progress, then the figures."""
    import segrid
    from segrid._native import _core

    if job["threads"] is not None:
        segrid.set_threads(job["threads"])
    segrid.threads()  # loads the extension
    before = resident_mb("RssAnon")
    try:
        segmenter = segrid.Segmenter(job["model"], device=job["device"], precision=job["precision"])
    except NotImplementedError as error:
        return send({"refused": str(error)})
    weights_mb = difference(resident_mb("RssAnon"), before)
    on_device, _ = _core.device_memory(segmenter.device)
    loaded = resident_mb("VmRSS")
    reset_peak()
    seconds: dict[str, float] = {}
    kept: dict[str, NDArray[Any]] = {}
    for i, path in enumerate(job["images"]):
        send({"done": i, "total": len(job["images"]), "image": path})
        masks = segmenter.everything(path, **job["options"])
        for stage, value in masks.stats["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + value / len(job["images"])
        kept |= packed(masks, i)
    peak, most = resident_mb("VmHWM"), _core.device_memory(segmenter.device)[1]
    if on_device:  # there the memory of the GPU is what runs short
        weights_mb, loaded, peak = on_device, on_device, most
    np.savez(job["out"], **kept)  # type: ignore[arg-type]
    send(
        {
            "precision": segmenter.precision,
            "seconds": seconds,
            "weights_mb": weights_mb,
            "working_mb": difference(peak, loaded),
        }
    )
