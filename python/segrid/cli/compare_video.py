"""`segrid compare` on a video: compares the settings of following objects."""

from __future__ import annotations

import json
import mimetypes
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from segrid._types import JsonObject
from segrid.cli.choice import ModelChoice
from segrid.cli.output import exit_on_error, printable

if TYPE_CHECKING:
    from segrid.measuring.video_comparison import VideoComparison, VideoObject

THRESHOLD, NMS = 0.1, 0.5  # of detections, as in `segrid track`


@dataclass(frozen=True)
class VideoRequest:
    """What to follow through the first `frames` frames, and the settings to combine."""

    points: list[str]
    boxes: list[str]
    prompts: list[str]
    mask: Path | None
    memory_frames: list[int]
    image_sides: list[int]
    memory_poolings: list[int]
    frames: int | None

    def __bool__(self) -> bool:
        """Whether anything was asked for that only a video has."""
        return any(vars(self).values())


def is_video(path: Path) -> bool:
    """Whether a path has the name of a video file."""
    return str(mimetypes.guess_type(path.name)[0]).startswith("video/")


def run_video(
    video: Path,
    request: VideoRequest,
    precisions: list[str] | None,
    tracker: ModelChoice,
    detector: str,
    *,
    as_json: bool,
) -> int:
    """Runs the command. Returns the exit code 0. Exits with 2 if nothing can be compared.

    tracker : its precision does not count"""
    from segrid.measuring.video_comparison import compare_video

    console = Console(stderr=True)
    with exit_on_error(RuntimeError), console.status("starting", spinner="line") as status:

        def show(at: JsonObject) -> None:
            whole = "" if at["total"] is None else f" of {at['total']}"
            status.update(f"{printable(at['setting'])}: {at['done']}{whole} frames")

        found = compare_video(
            video,
            _objects(video, request, detector, tracker.device),
            model=tracker.model,
            precisions=precisions or ["fp32"],
            memory_frames=request.memory_frames,
            image_sides=request.image_sides,
            memory_poolings=request.memory_poolings,
            frames=request.frames,
            device=tracker.device,
            threads=tracker.threads,
            progress=show,
        )
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n")
        return 0
    out = Console()
    out.print(_table(found))
    for setting, why in found.refused.items():
        out.print(f"  {printable(setting)}: {printable(why)}", highlight=False, soft_wrap=True)
    return 0


def _objects(video: Path, request: VideoRequest, detector: str, device: str) -> list[VideoObject]:
    from segrid.cli.track_run import box, clicks
    from segrid.measuring.video_comparison import VideoObject, objects_of

    found = [VideoObject(clicks=clicks(text)) for text in request.points]
    found += [VideoObject(box=box(text)) for text in request.boxes]
    if request.mask is not None:
        found += objects_of(request.mask)
    if request.prompts:
        found += _detected(video, request.prompts, detector, device)
    if not found:
        raise ValueError("nothing to follow: give --point, --box, --mask or --prompt")
    return found


def _detected(video: Path, prompts: list[str], detector: str, device: str) -> list[VideoObject]:
    """What a detector finds in the first frame."""
    import segrid
    from segrid.measuring.video_comparison import VideoObject
    from segrid.video.detected_tracks import inside
    from segrid.video.sources import open_frames

    finder = segrid.Detector(detector, device=device)
    with open_frames(video) as frames:
        picture = frames.read(0)
    found = finder.detect(picture, prompts, threshold=THRESHOLD, nms=NMS)
    boxes = inside(found, (picture.shape[1], picture.shape[0])).boxes
    if len(boxes) == 0:
        raise ValueError(f"{video}: {detector} finds nothing of --prompt in the first frame")
    return [VideoObject(box=box.tolist()) for box in boxes]


def _table(found: VideoComparison) -> Table:
    reference = found.results[0]
    objects = "1 object" if found.objects == 1 else f"{found.objects} objects"
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{printable(Path(found.video).name)}: {objects} through {found.frames} frames, "
        f"model {printable(found.model)}; masks against those of the first row",
        title_justify="left",
        padding=0,  # so that it fits 80 columns
    )
    pooled = any(r.memory_pooling > 1 for r in found.results)
    frames = "memory\nframes" + (" / by" if pooled else "")
    names = ("precision", frames, "side", "J&F", "J", "F", "least\nJ&F", "in\nframe")
    for name in (*names, "seconds\na frame", "times\nas fast", "MB: model\n+ work"):
        table.add_column(name, justify="left" if name == "precision" else "right", no_wrap=True)
    for r in found.results:
        least = ("-", "-") if r.worst is None else (f"{r.worst.j_and_f:.3f}", str(r.worst.frame))
        memory = ("-" if mb is None else f"{mb:.0f}" for mb in (r.weights_mb, r.working_mb))
        table.add_row(
            r.precision,
            str(r.memory_frames) + (f" / {r.memory_pooling}" if pooled else ""),
            str(r.image_side),
            *(f"{value:.3f}" for value in (r.j_and_f, r.j, r.f)),
            *least,
            f"{r.frame_seconds:.3f}",
            f"{reference.frame_seconds / max(r.frame_seconds, 1e-9):.2f}",
            " + ".join(memory),
        )
    return table
