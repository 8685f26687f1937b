"""One run of `segrid track`: its session, what it is resumed from, and what it writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segrid._files import read_json, write_text
from segrid._types import JsonObject, Options

if TYPE_CHECKING:
    from segrid.detections import Detections
    from segrid.detector import Detector
    from segrid.video.detected_tracks import Tracks
    from segrid.video.tracker import Tracker

MOST_OBJECTS = 256  # as a session's
MOST_OF_EVERYTHING = 32
SNAPSHOT_PAUSE = 5.0  # seconds between two snapshots, at least
SNAPSHOT_SHARE = 20.0  # and this many times as long as one takes
Click = tuple[float, float, int]  # x, y, label

ENDINGS = {"overlay": "_overlay.mp4", "masks": "_masks.json", "tracks": "_tracks.csv"}


@dataclass(frozen=True)
class TrackRequest:
    """What to follow, and where it goes.

    points : the clicks of each object; boxes : XYXY of each object; prompts : texts
    everything : the masks of segment everything
    max_objects : the most objects: the best masks of everything, the best detections
    frame : where all of these are given, and from where objects are followed
    every, threshold, nms, match_iou : of the detection, see `segrid.Pipeline.track`
    """

    video: str
    output: Path
    points: list[list[Click]]
    boxes: list[list[float]]
    prompts: list[str]
    everything: bool
    frame: int
    every: int | None
    threshold: float
    nms: float | None
    match_iou: float
    max_objects: int | None
    long_side: int | None
    memory_frames: int | None
    memory_pooling: int | None

    def check(self) -> None:
        """Raises ValueError for a request that asks for nothing or for too much, and for
        thresholds out of range."""
        from segrid.detector import check_thresholds

        ways = [self.points or self.boxes, self.prompts, self.everything]
        if not any(ways):
            raise ValueError("nothing to follow: give --point, --box, --prompt or --everything")
        if self.everything and any(ways[:2]):
            raise ValueError("--everything follows all there is; give no other prompts with it")
        check_thresholds(self.threshold, self.nms)
        if self.every is not None and not self.prompts:
            raise ValueError("--every: the frames of a detector, which needs --prompt")
        given = len(self.points) + len(self.boxes)
        if given > self.most_objects:
            raise ValueError(
                f"--max-objects {self.most_objects}: --point and --box give {given} objects; give "
                "fewer of them, or a larger number"
            )

    @property
    def most_objects(self) -> int:
        """The most objects, where the command names no number, too."""
        if self.max_objects is not None:
            return self.max_objects
        return MOST_OF_EVERYTHING if self.everything else MOST_OBJECTS

    @property
    def stem(self) -> str:
        """The name of the results without their endings."""
        path = Path(self.video)
        return path.name if path.is_dir() else path.stem

    def file(self, ending: str) -> Path:
        """A file of the run in the output folder."""
        return self.output / (self.stem + ending)


class TrackRun:
    """A session that is followed to its end, with snapshots from which a later run goes on."""

    def __init__(self, request: TrackRequest, tracker: Tracker, detector: Detector | None) -> None:
        """Opens the video and gives the prompts, or takes up the snapshot of an earlier run.

        Raises FrameNotFound (an IndexError) for a first frame that the video does not have,
        ValueError where the folder holds the unfinished run of another request, and what opening,
        prompting and detecting raise."""
        from segrid.video.detected_tracks import Schedule
        from segrid.video.sources import open_frames

        request.check()
        self.request, self._tracker, self._detector = request, tracker, detector
        self._schedule = Schedule(request.frame, request.every, request.match_iou)
        self._state, self._job = request.file("_session.safetensors"), request.file("_job.json")
        request.output.mkdir(parents=True, exist_ok=True)
        self._frames = open_frames(request.video, long_side=request.long_side)
        try:
            self._options: Options = {"max_objects": request.most_objects}
            if request.memory_frames is not None:
                self._options["memory_frames"] = request.memory_frames
            self._frames.read(request.frame)  # raises where there is no such frame
            facts = self._facts()
            self.resumed = self._state.exists()
            if self.resumed:
                self._check_job(facts)
                self.session = tracker.restore(self._state, source=self._frames)
            else:
                self.session = tracker.open(
                    self._frames, long_side=request.long_side, **self._options
                )
                self._prompt()
        except BaseException:
            self._frames.close()
            raise
        followed = self.session.tracked_frames if self.resumed else []
        self.earlier = followed[-1] + 1 - request.frame if followed else 0
        self.done = self.earlier
        self.left_out = 0  # detections for which max_objects leaves no room
        self._unwritten = None if self.resumed else facts
        self._snapshot_at, self._snapshot_seconds = perf_counter(), 0.0

    @property
    def total(self) -> int | None:
        """The number of frames to follow, where the video tells it."""
        count = self.session.count
        return None if count is None else max(0, count - self.request.frame)

    def _facts(self) -> JsonObject:
        """All that the results depend on."""
        path = os.path.abspath(self.request.video)
        stat = os.stat(path)
        facts = asdict(self.request) | {
            "video": path,
            "bytes": stat.st_size,
            "changed": stat.st_mtime_ns,
            "model": self._tracker.model_id,
            "precision": self._tracker.precision,
            "detector": self._detector.model_id if self._detector else None,
        }
        del facts["output"]
        plain: JsonObject = json.loads(json.dumps(facts))
        return plain

    def _check_job(self, facts: JsonObject) -> None:
        known = read_json(self._job)
        other = [name for name, value in facts.items() if known.get(name) != value]
        if other:
            raise ValueError(
                f"{self.request.output}: holds the unfinished run of a command with another "
                f"{', '.join(other)}; give another -o, or delete {self._state}"
            )

    def _prompt(self) -> None:
        request, session = self.request, self.session
        number = 0
        for clicks in request.points:
            number += 1
            rows = np.array(clicks)
            session.add(number, request.frame, points=rows[:, :2], labels=rows[:, 2].astype(int))
        for box in request.boxes:
            number += 1
            session.add(number, request.frame, boxes=box)
        if request.everything:
            embedding = session.embedding(request.frame)
            masks = self._tracker.segmenter.everything(embedding, max_masks=request.most_objects)
            for number, mask in enumerate(masks, 1):
                session.add(number, request.frame, mask=mask.resized(session.size).array[0])

    def _tracks(self) -> Tracks:
        from segrid.video.detected_tracks import Tracks

        return Tracks(
            self.session,
            self._tracker.segmenter,
            self._detect,
            self._schedule,
            start=self.request.frame + self.done,
        )

    def _detect(self, picture: NDArray[np.uint8]) -> Detections:
        from segrid.detections import Detections

        if self._detector is None:
            boxes, classes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
            return Detections(boxes, boxes[:, 0], [], classes, (picture.shape[0], picture.shape[1]))
        request = self.request
        return self._detector.detect(
            picture, request.prompts, threshold=request.threshold, nms=request.nms
        )

    def follow(self) -> Iterator[int]:
        """Follows frame by frame; gives the number of objects in each. Writes a snapshot every few
        seconds."""
        tracks = self._tracks()
        for found in tracks:
            self.done, self.left_out = self.done + 1, tracks.left_out
            yield len(found)
            if perf_counter() > self._snapshot_at + max(
                SNAPSHOT_PAUSE, SNAPSHOT_SHARE * self._snapshot_seconds
            ):
                self.snapshot()

    def snapshot(self) -> None:
        """Writes the state from which the same command goes on. An interrupted step is left out: in
        a frame that was followed, its detection may be missing."""
        followed = self.session.tracked_frames
        if followed and followed[-1] + 1 == self.request.frame + self.done:
            begin = perf_counter()
            if self._unwritten is not None:
                write_text(self._job, json.dumps(self._unwritten, indent=2))
                self._unwritten = None
            self.session.snapshot(self._state)
            self._snapshot_at = perf_counter()
            self._snapshot_seconds = self._snapshot_at - begin

    def finished(self) -> None:
        """Removes the state: there is nothing to go on with."""
        for file in (self._state, self._job):
            file.unlink(missing_ok=True)

    def write(self) -> dict[str, Path]:
        """Writes the results of the frames that are done; nothing where there are none."""
        if self.done == 0:
            return {}
        files = {kind: self.request.file(ending) for kind, ending in ENDINGS.items()}
        self.session.export(
            frames=self._frames_done,
            overlay=files["overlay"],
            rle=files["masks"],
            table=files["tracks"],
        )
        return files

    @property
    def _frames_done(self) -> range:
        return range(self.request.frame, self.request.frame + self.done)

    def objects(self) -> list[JsonObject]:
        """[{"id", "name", "frames"}]: the number of frames in which each object is."""
        seen = {number: 0 for number in self.session.ids}
        for index in set(self.session.shown_frames) & set(self._frames_done):
            frame = self.session.frame(index)
            for number, area in zip(frame.ids, frame.masks.areas.tolist(), strict=True):
                seen[number] += area > 0
        names = self.session.names
        return [{"id": i, "name": names.get(i), "frames": count} for i, count in seen.items()]

    def close(self) -> None:
        """Closes the video."""
        self.session.close()


def clicks(text: str) -> list[Click]:
    """Reads the clicks of one object: x,y or x,y,label, several ones separated by spaces.

    Raises ValueError."""
    found = []
    for part in text.split():
        values = _values("--point", part, (2, 3))
        label = values[2] if len(values) == 3 else 1
        if label not in (0, 1):
            raise ValueError(f"--point: a label is 1 (inside) or 0 (outside), got {part!r}")
        found.append((values[0], values[1], int(label)))
    if not found:
        raise ValueError("--point: expected x,y in pixels, got an empty text")
    return found


def box(text: str) -> list[float]:
    """Reads x0,y0,x1,y1. Raises ValueError."""
    return _values("--box", text, (4,))


def _values(option: str, text: str, lengths: tuple[int, ...]) -> list[float]:
    wanted = {"--point": "x,y or x,y,label", "--box": "x0,y0,x1,y1"}[option]
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in lengths:
        raise ValueError(f"{option}: expected {wanted} in pixels, got {text!r}")
    return values


def outcome(run: TrackRun, files: dict[str, Path], seconds: float, stopped: str) -> dict[str, Any]:
    """The JSON record of a run."""
    now = run.done - run.earlier
    return {
        "video": run.request.video,
        "frames": run.done,
        "earlier": run.earlier,
        "total": run.total,
        "objects": run.objects(),
        "left_out": run.left_out,
        "seconds": seconds,
        "frames_per_second": now / seconds if now else None,
        "stopped": stopped,
        "files": {kind: str(path) for kind, path in files.items()},
    }
