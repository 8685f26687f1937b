"""Compares the settings of following objects on the user's own video.

The same prompts are followed with each setting, in a process of its own.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from segrid._types import JsonObject, Progress, Samples
from segrid.mask_matching import BoxedMask
from segrid.measuring.label_map import read_label_map
from segrid.measuring.memory import difference, reset_peak, resident_mb
from segrid.measuring.own_process import measured, serve
from segrid.measuring.packed_masks import packed, unpacked_by_place
from segrid.measuring.track_agreement import Agreement, agreement, mean_agreement
from segrid.torch_names import Device, Precision, device_name, precision_name

if TYPE_CHECKING:
    from segrid.video.session import Session


@dataclass(frozen=True)
class Setting:
    """What may be changed. memory_frames: frames that are looked back at; image_side: of the
    model's square, pixels; memory_pooling: see `Tracker`."""

    precision: str
    memory_frames: int
    image_side: int
    memory_pooling: int

    def __str__(self) -> str:
        pooled = "" if self.memory_pooling == 1 else f" pooled by {self.memory_pooling}"
        return (
            f"{self.precision}, {self.memory_frames} memory frames{pooled}, side {self.image_side}"
        )


@dataclass(frozen=True)
class VideoObject:
    """An object of the first frame, prompted in one of three ways.

    clicks : (x, y, label) each
    box : XYXY, pixels
    mask, number : a label map file, and the object's number in it
    """

    clicks: Sequence[tuple[float, float, int]] = ()
    box: Sequence[float] | None = None
    mask: str | None = None
    number: int = 0

    def add_to(self, session: Session, id: int) -> None:
        """Adds the object to a session. Raises what `Session.add` raises."""
        if self.mask is not None:
            session.add(id, mask=read_label_map(self.mask) == self.number)
        elif self.box is not None:
            session.add(id, boxes=list(self.box))
        else:
            clicks = np.array(self.clicks)
            session.add(id, points=clicks[:, :2], labels=clicks[:, 2].astype(int))


@dataclass(frozen=True)
class Worst:
    """The frame and the object (from 0) that agree least."""

    frame: int
    object: int
    j_and_f: float


@dataclass(frozen=True)
class VideoResult:
    """One setting.

    precision : that of the model; memory_frames, image_side, memory_pooling : as asked
    j, f, j_and_f : against the masks of the reference, means over all objects and all frames but
        the prompted one
    worst : None without a followed frame
    frame_seconds : the median of the followed frames; of those with a full memory, if there are any
    weights_mb, working_mb : the resident memory that loading added, and the peak above it while
        objects were followed (None where the system does not tell); on CUDA, memory of the device
    """

    precision: str
    memory_frames: int
    image_side: int
    memory_pooling: int
    j: float
    f: float
    j_and_f: float
    worst: Worst | None
    frame_seconds: float
    weights_mb: float | None
    working_mb: float | None


@dataclass(frozen=True)
class VideoComparison:
    """The result of `compare_video`: frames and objects that were compared, the results with the
    reference first, and {setting: reason} of those that do not run here."""

    model: str
    video: str
    frames: int
    objects: int
    results: list[VideoResult]
    refused: dict[str, str] = field(default_factory=dict)


def objects_of(mask: str | os.PathLike[str]) -> list[VideoObject]:
    """The objects of a label map. Raises ValueError for one without objects, and OSError."""
    numbers = [int(n) for n in np.unique(read_label_map(mask)) if n != 0]
    if not numbers:
        raise ValueError(f"{os.fspath(mask)}: has no object; all pixels are 0")
    return [VideoObject(mask=os.path.abspath(mask), number=n) for n in numbers]


def compare_video(
    video: str | os.PathLike[str],
    objects: Sequence[VideoObject],
    *,
    model: str | os.PathLike[str] = "tiny-video",
    precisions: Sequence[Precision] = ("fp32",),
    memory_frames: Sequence[int] = (),
    image_sides: Sequence[int] = (),
    memory_poolings: Sequence[int] = (),
    frames: int | None = None,
    device: Device = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> VideoComparison:
    """Follows objects through a video with every combination of settings, and measures what each
    costs and changes. The reference is fp32 with the settings of the model.

    video : a file, or a folder of frames; objects : of its first frame
    precisions, memory_frames, image_sides, memory_poolings : what to combine; none: that of the
        model
    frames : how many frames to follow after the first; None: to the end
    progress : called with {"setting", "done", "total"} before each frame; total may be None

    Raises ValueError without objects, FileNotFoundError, and RuntimeError with the message of a
    process that failed, such as that of a setting that the model cannot have.
    """
    path = os.path.abspath(video)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such video")
    if not objects:
        raise ValueError("compare: nothing to follow; give points, boxes or a mask")
    job = {
        "model": os.fspath(model),
        "device": device_name(device),
        "video": path,
        "objects": [vars(one) for one in objects],
        "frames": frames,
        "threads": threads,
    }
    own = own_setting(model)
    asked = product(
        [precision_name(precision) for precision in precisions],
        memory_frames or [own.memory_frames],
        image_sides or [own.image_side],
        memory_poolings or [own.memory_pooling],
    )
    rows = _Rows()
    with tempfile.TemporaryDirectory() as scratch:
        for setting in dict.fromkeys([own, *(Setting(*one) for one in asked)]):
            out = Path(scratch) / "masks.npz"
            answer = measured(
                "compare",
                __name__,
                job | vars(setting) | {"out": str(out)},
                str(setting),
                partial(_tell, progress, setting),
            )
            if "refused" in answer:
                rows.refused[str(setting)] = answer["refused"]
            else:
                rows.add(setting, answer, unpacked_by_place(out), len(objects))
    return VideoComparison(
        str(model), path, len(rows.reference), len(objects), rows.results, rows.refused
    )


def own_setting(model: str | os.PathLike[str]) -> Setting:
    """fp32 with the memory and the square that the model was trained with.

    Raises NotImplementedError for a model without the memory of video, and what `Tracker` raises
    where there is no model.
    """
    from segrid import _hub

    config = json.loads(Path(_hub.locate(model).config).read_text(encoding="utf-8"))
    if not str(config.get("model_type", "")).endswith("_video"):
        raise NotImplementedError(
            f"compare: {os.fspath(model)} has no memory of video; give a model whose config.json "
            "has the model_type sam2_video"
        )
    return Setting(
        "fp32",
        config.get("num_maskmem", 7),
        config.get("image_size", 1024),
        config.get("memory_pooling", 1),
    )


def _tell(progress: Progress | None, setting: Setting, message: JsonObject) -> None:
    if progress is not None:
        progress(message | {"setting": str(setting)})


class _Rows:
    """The results of the settings, whose masks are compared with those of the first one: of each
    frame {object: mask} without empty masks."""

    def __init__(self) -> None:
        self.results: list[VideoResult] = []
        self.refused: dict[str, str] = {}
        self.reference: list[dict[int, BoxedMask]] = []

    def add(
        self, setting: Setting, answer: JsonObject, found: list[dict[int, BoxedMask]], objects: int
    ) -> None:
        """Adds a setting. answer : its figures; found : its masks."""
        self.reference = self.reference or found
        pairs = {
            (frame, number): _agreement(a.get(number), b.get(number))
            for frame, (a, b) in enumerate(zip(self.reference, found, strict=True))
            for number in range(objects)
            if frame > 0
        }
        mean = mean_agreement(list(pairs.values()))
        least = min(pairs, key=lambda place: pairs[place].mean, default=None)
        self.results.append(
            VideoResult(
                answer["precision"],
                setting.memory_frames,
                setting.image_side,
                setting.memory_pooling,
                mean.j,
                mean.f,
                mean.mean,
                None if least is None else Worst(*least, pairs[least].mean),
                answer["frame_seconds"],
                answer["weights_mb"],
                answer["working_mb"],
            )
        )


def _agreement(reference: BoxedMask | None, other: BoxedMask | None) -> Agreement:
    """J and F between the masks of one object in one frame; None: it has none there."""
    if reference is None or other is None:
        return Agreement(*[float(reference is other)] * 2)
    return agreement(other.pixels(), reference.pixels())


def _main() -> None:
    """The process that measures one setting."""
    serve(_measure)


def _measure(job: JsonObject, send: Progress) -> None:
    """Measures one setting. Sends the progress, then the figures."""
    import segrid
    from segrid._native import _core

    if job["threads"] is not None:
        segrid.set_threads(job["threads"])
    segrid.threads()  # loads the extension
    before = resident_mb("RssAnon")
    where = {"device": job["device"], "precision": job["precision"]}
    try:
        asked = {name: job[name] for name in ("image_side", "memory_pooling")}
        tracker = segrid.Tracker(job["model"], **asked, **where)
    except NotImplementedError as error:
        return send({"refused": str(error)})
    weights_mb = difference(resident_mb("RssAnon"), before)
    on_device, _ = _core.device_memory(tracker.device)
    loaded = resident_mb("VmRSS")
    reset_peak()
    kept: dict[str, Samples] = {}
    seconds: list[float] = []
    with tracker.open(job["video"], memory_frames=job["memory_frames"]) as session:
        for id, one in enumerate(job["objects"]):
            VideoObject(**one).add_to(session, id)
        steps = session.propagate(start=0, frames=job["frames"])
        total = session.count
        if job["frames"] is not None:
            total = min(job["frames"] + 1, total or job["frames"] + 1)
        while True:
            send({"done": len(seconds), "total": total})
            begin = perf_counter()
            frame = next(steps, None)
            if frame is None:
                break
            seconds.append(perf_counter() - begin)
            kept |= packed(frame.masks, frame.index)
    peak, most = resident_mb("VmHWM"), _core.device_memory(tracker.device)[1]
    if on_device:  # there the memory of the GPU is what runs short
        weights_mb, loaded, peak = on_device, on_device, most
    np.savez(job["out"], **kept)  # type: ignore[arg-type]
    full = seconds[job["memory_frames"] + 1 :] or seconds[1:] or seconds
    send(
        {
            "precision": tracker.precision,
            "frame_seconds": float(np.median(full)),
            "weights_mb": weights_mb,
            "working_mb": difference(peak, loaded),
        }
    )
