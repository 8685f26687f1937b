"""What a precision costs on your own images.

The same call runs in several precisions, each in a process of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segrid.measuring.matching import BoxedMask, crop_to_box, match, packed, unpacked
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.torch_names import Device, Precision, device_name, precision_name


@dataclasses.dataclass(frozen=True)
class PrecisionResult:
    """One precision over all images.

    seconds : of each stage (resize, encode, decode, scan, filter, total), the mean over the images
    weights_mb, working_mb : resident memory that loading added, and the peak above it while it
        worked (None where the system does not tell); on CUDA they are the device's memory
    masks, matched, lost, new : masks found; those that are the same object as a mask of the
        reference; masks of the reference without a partner; masks without a partner there
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
    """results : one per precision, the reference first. worst : (precision, image, IoU, the
    reference's mask, the other's mask) of the least matched pair, masks (H, W) bool, or None where
    every pair is equal; not looked at where two are compared. refused : precision -> why it does
    not run here."""

    model: str
    images: list[str]
    results: list[PrecisionResult]
    refused: dict[str, str]
    worst: tuple[str, str, float, np.ndarray, np.ndarray] | None = dataclasses.field(compare=False)

    def picture(self, path: str | os.PathLike[str]) -> bool:
        """Writes the worst difference as PNG, and returns False where there is none.

        Pixels of both are yellow, those of the reference alone green, those of the other alone red.
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
    progress: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> Comparison:
    """Segments everything in every image with every precision and says what each costs and changes.

    images : paths
    precisions, device : as `Segmenter` takes them; the first precision is the reference; those that
        this CPU refuses are named in `refused`
    labels : a folder with an instance map for every image, `<stem>.png` or .tif (0 is ground, every
        other number an object), of the image's size
    progress : called with {"precision", "image", "done", "total"} before each image
    options : of `Segmenter.everything`; crop_n_layers is "auto" unless given

    Raises ValueError (no images, no precision, labels that do not fit), FileNotFoundError, and
    RuntimeError with the message of a process that failed.
    """
    paths = [str(Path(p).resolve()) for p in images]
    if not paths or not precisions:
        raise ValueError("compare: give at least one image and one precision")
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such image")
    device = device_name(device)
    names = [precision_name(precision) for precision in precisions]
    maps = None if labels is None else [_label_file(Path(labels), Path(p)) for p in paths]
    done: list[PrecisionResult] = []
    refused: dict[str, str] = {}
    worst: tuple[str, str, float, np.ndarray, np.ndarray] | None = None
    reference: list[list[BoxedMask]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for precision in names:
            out = Path(scratch) / f"{precision}.npz"
            job: dict[str, Any] = {
                "model": os.fspath(model),
                "device": device,
                "precision": precision,
                "images": paths,
                "threads": threads,
                "out": str(out),
                "options": {"crop_n_layers": "auto"} | options,
            }
            answer = _process(job, progress)
            if "refused" in answer:
                refused[precision] = answer["refused"]
                continue
            found = unpacked(out)
            if not reference:
                reference = found
            pairs = [match(a, b) for a, b in zip(reference, found, strict=True)]
            ious = [iou for of_image in pairs for _, _, iou in of_image]
            if done and ious and (worst is None or min(ious) < worst[2]) and min(ious) < 1:
                at = min(
                    range(len(pairs)), key=lambda i: min((iou for *_, iou in pairs[i]), default=2.0)
                )
                i, j, iou = min(pairs[at], key=lambda pair: pair[2])
                worst = (
                    answer["precision"],
                    paths[at],
                    iou,
                    reference[at][i].pixels(),
                    found[at][j].pixels(),
                )
            masks = sum(map(len, found))
            done.append(
                PrecisionResult(
                    answer["precision"],
                    answer["seconds"],
                    answer["weights_mb"],
                    answer["working_mb"],
                    masks,
                    len(ious),
                    sum(map(len, reference)) - len(ious),
                    masks - len(ious),
                    float(np.mean(ious)) if ious else float("nan"),
                    min(ious, default=float("nan")),
                    None if maps is None else _ap50(found, maps),
                )
            )
    if not done:
        raise RuntimeError(
            "compare: none of the precisions runs here: "
            + "; ".join(f"{p}: {why}" for p, why in refused.items())
        )
    return Comparison(str(model), paths, done, refused, worst)


def _label_file(folder: Path, image: Path) -> Path:
    for suffix in (".png", ".tif", ".tiff"):
        if (folder / (image.stem + suffix)).is_file():
            return folder / (image.stem + suffix)
    raise FileNotFoundError(f"{folder}: no label map {image.stem}.png or .tif for {image}")


def _ap50(found: list[list[BoxedMask]], maps: list[Path]) -> float:
    from PIL import Image

    true = false = missed = 0
    for masks, file in zip(found, maps, strict=True):
        with Image.open(file) as picture:
            numbers = np.asarray(picture)
        if numbers.ndim != 2:
            raise ValueError(
                f"{file}: a label map has one channel of object numbers, this one has shape "
                f"{numbers.shape}"
            )
        if masks and masks[0].size != numbers.shape:
            raise ValueError(
                f"{file}: {numbers.shape[1]} x {numbers.shape[0]} pixels, its image has "
                f"{masks[0].size[1]} x {masks[0].size[0]}"
            )
        truths = [crop_to_box(numbers == n) for n in np.unique(numbers) if n != 0]
        hits = len(match(truths, masks))
        true, false, missed = true + hits, false + len(masks) - hits, missed + len(truths) - hits
    return true / max(1, true + false + missed)


def _draw(path: Path, image: str, title: str, reference: np.ndarray, other: np.ndarray) -> None:
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


def _process(
    job: dict[str, Any], progress: Callable[[dict[str, Any]], None] | None
) -> dict[str, Any]:
    """Runs `_work` in a fresh process: its memory is that of one precision alone."""
    answer: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+") as said_wrong,
        subprocess.Popen(
            [sys.executable, "-c", "from segrid.measuring.comparison import _main; _main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said_wrong,
            text=True,
        ) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once; what it said tells why
                child.stdin.write(json.dumps(job))
                child.stdin.close()
            for line in child.stdout:
                said = json.loads(line)
                if "done" not in said:
                    answer = said
                elif progress is not None:
                    progress(said | {"precision": job["precision"]})
        except BaseException:
            child.kill()
            raise
        child.wait()
        said_wrong.seek(0)
        errors = said_wrong.read()
    if not answer:
        raise RuntimeError(
            f"compare: the process for {job['precision']} failed: "
            f"{errors.strip().splitlines()[-1] if errors.strip() else child.returncode}"
        )
    return answer


def _main() -> None:
    job = json.loads(sys.stdin.read())
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print

    def say(what: dict[str, Any]) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    _work(job, say)


def _work(job: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    import segrid
    from segrid._native import _core

    if job["threads"] is not None:
        segrid.set_threads(job["threads"])
    segrid.threads()  # the extension is loaded
    before = resident_mb("RssAnon")
    try:
        segmenter = segrid.Segmenter(job["model"], device=job["device"], precision=job["precision"])
    except NotImplementedError as error:
        return say({"refused": str(error)})
    weights_mb = difference(resident_mb("RssAnon"), before)
    on_device, _ = _core.device_memory(segmenter.device)
    loaded = resident_mb("VmRSS")
    reset_peak()
    seconds: dict[str, float] = {}
    kept: dict[str, np.ndarray] = {}
    for i, path in enumerate(job["images"]):
        say({"done": i, "total": len(job["images"]), "image": path})
        masks = segmenter.everything(path, **job["options"])
        for stage, value in masks.stats["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + value / len(job["images"])
        kept |= packed(masks, i)
    peak, most = resident_mb("VmHWM"), _core.device_memory(segmenter.device)[1]
    if on_device:  # a GPU's memory is what runs short there
        weights_mb, loaded, peak = on_device, on_device, most
    np.savez(job["out"], **kept)  # type: ignore[arg-type]
    say(
        {
            "precision": segmenter.precision,
            "seconds": seconds,
            "weights_mb": weights_mb,
            "working_mb": difference(peak, loaded),
        }
    )
