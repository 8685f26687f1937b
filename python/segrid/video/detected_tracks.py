"""Objects that a detector finds in some frames of a video, followed through all of them."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from segrid._closing import Closing
from segrid._native import Cancelled, CancelToken, cancel_scope
from segrid._types import Progress
from segrid.detections import Detections
from segrid.mask_matching import MATCH, boxed, iou_of, match
from segrid.segmenter import Segmenter
from segrid.video.frames import FrameNotFound
from segrid.video.run_progress import Told
from segrid.video.session import Session
from segrid.video.tracked_frame import TrackedFrame

Detect = Callable[[NDArray[np.uint8]], Detections]  # of (h, w, 3) RGB; boxes in its pixels
NO_CLASS = -1  # class_id of objects that no detector has found


@dataclass(frozen=True)
class Schedule:
    """In which frames objects are detected, and which of them are known.

    first : the first frame of the detector
    every : n: it looks at every n-th frame from then on; None: at no other
    match_iou : the mask IoU with a followed object of the same label from which a detection is that
        object; below that, it is a new one

    Raises ValueError naming the value.
    """

    first: int = 0
    every: int | None = None
    match_iou: float = MATCH

    def __post_init__(self) -> None:
        if not isinstance(self.first, SupportsIndex) or operator.index(self.first) < 0:
            raise ValueError(f"first: must be the number of a frame, from 0, got {self.first!r}")
        if self.every is not None and (
            not isinstance(self.every, SupportsIndex) or operator.index(self.every) < 1
        ):
            raise ValueError(f"every: must be a whole number from 1, or None, got {self.every!r}")
        if not 0 < self.match_iou <= 1:
            raise ValueError(f"match_iou: must be above 0 and at most 1, got {self.match_iou}")

    def looks_at(self, frame: int) -> bool:
        """Whether the detector looks at this frame."""
        since = frame - self.first
        return since == 0 or (self.every is not None and since > 0 and since % self.every == 0)


class Tracks(Closing):
    """An iterator over the frames of a video that gives `Detections` with `tracker_id`, made by
    `segrid.Pipeline.track`.

    The detector looks at the frames of the schedule. A detection whose mask fits that of a followed
    object with the same label is that object; the others join the session, which follows all of
    them, those with the highest scores first while there is room (the session's `max_objects`). An
    object keeps its number and its label to the end. Boxes are cut to the picture.

    The `Detections` of a frame hold the objects that are in it, in the order in which they joined.
    Each has the box around its mask (the maximum is exclusive), the score of the last detection
    that was this object (NaN if there is none), its label with its class, the mask, of the video's
    size, and its number as `tracker_id`. They hold no image: that is `session.picture(index)`.

    Use it in a `with` block to export what was found, or to close the video before its end:

        with pipeline.track("clip.mp4", ["a dog"], every=25) as tracks:
            for found in tracks:
                print(tracks.frame.progress, found.tracker_id, found.labels)
            tracks.export(overlay="dogs.mp4")

    Attributes
    ----------
    session : the `Session` of the video
    frame : the `TrackedFrame` of the last step, with its index, all objects and the progress; None
        before the first one
    left_out : how many detections did not join, because there was no room
    """

    def __init__(
        self,
        session: Session,
        segmenter: Segmenter,
        detect: Detect,
        schedule: Schedule,
        *,
        start: int | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """
        session : it may have objects
        segmenter : of the session's weights
        start : the first frame of the iterator; default: that of the schedule
        progress, cancel : as in `Session.propagate`
        """
        self.session = session
        self.frame: TrackedFrame | None = None
        self.left_out = 0
        self._segmenter, self._detect, self._schedule = segmenter, detect, schedule
        self._start = schedule.first if start is None else start
        self._scores: dict[int, float] = {}
        self._progress, self._cancel = progress, cancel
        self._steps = self._run()

    def __iter__(self) -> Iterator[Detections]:
        return self

    def __next__(self) -> Detections:
        return next(self._steps)

    def _run(self) -> Iterator[Detections]:
        count = self.session.count
        told = Told(None if count is None else count - self._start, self._progress)
        followed: Iterator[TrackedFrame] | None = None
        index = self._start
        while True:
            frame = self._empty(index) if followed is None else next(followed, None)
            if frame is not None and followed is None and self.session.ids:
                followed = self.session.propagate(start=index, cancel=self._cancel)
                frame = next(followed)
            if frame is None:
                return
            if self._schedule.looks_at(index) and self._join(frame):
                frame, followed = self.session.frame(index), None
            self.frame = replace(frame, progress=told.next())
            yield self._found(self.frame)
            index += 1

    def _empty(self, index: int) -> TrackedFrame | None:
        """A frame without objects; None beyond the end."""
        if self._cancel is not None and self._cancel.cancelled:
            raise Cancelled(f"track: cancelled before frame {index}")
        try:
            self.session.picture(index)
        except FrameNotFound:
            return None
        return TrackedFrame.empty(index, self.session.size)

    def _join(self, frame: TrackedFrame) -> bool:
        """Detects in a frame, and adds what is new there. Returns whether something was new."""
        picture = self.session.picture(frame.index)
        (height, width), (h, w) = self.session.size, picture.shape[:2]
        with cancel_scope([] if self._cancel is None else [self._cancel]):
            found = inside(self._detect(picture), (w, h))
            new = self._best(found, self._unknown(frame, found))
        # Divided last: (w * width) / w is the width itself, and a box at the border stays inside.
        boxes = found.boxes * np.array([width, height] * 2) / np.array([w, h] * 2)
        for i in new:
            number = max(self.session.ids, default=0) + 1
            self.session.add(
                number,
                frame.index,
                boxes=boxes[i],
                name=found.labels[i],
                category=int(found.class_id[i]),
            )
            self._scores[number] = float(found.scores[i])
        return bool(new)

    def _unknown(self, frame: TrackedFrame, found: Detections) -> list[int]:
        """The detections that are no object of the frame. Those that are one give it their
        score."""
        if len(found) == 0 or not frame.masks.areas.any():
            return list(range(len(found)))
        masks = self._segmenter.predict(
            self.session.embedding(frame.index), boxes=found.boxes, anywhere=True
        )
        followed = (
            frame.masks if masks.size == frame.masks.size else frame.masks.resized(masks.size)
        )
        tracks, candidates = boxed(followed), boxed(masks)
        least, new = self._schedule.match_iou, []
        for label in dict.fromkeys(found.labels):
            known = [
                (number, mask)
                for number, mask in zip(frame.ids, tracks, strict=True)
                if mask is not None and frame.names.get(number) == label
            ]
            named = [
                (i, mask)
                for i, mask in enumerate(candidates)
                if mask is not None and found.labels[i] == label
            ]
            for a, b, _ in match([mask for _, mask in known], [mask for _, mask in named], least):
                self._scores[known[a][0]] = float(found.scores[named[b][0]])
            new += [
                i for i, mask in named if all(iou_of(mask, other) < least for _, other in known)
            ]
        return sorted(new)

    def _best(self, found: Detections, new: list[int]) -> list[int]:
        """Those of the new detections for which there is room, the best ones."""
        room = max(0, self.session.max_objects - len(self.session.ids))
        best = sorted(new, key=lambda i: -found.scores[i])[:room]
        self.left_out += len(new) - len(best)
        return sorted(best)

    def _found(self, frame: TrackedFrame) -> Detections:
        there = np.flatnonzero(frame.masks.areas).tolist()
        masks, ids = frame.masks[there], [frame.ids[i] for i in there]
        categories = self.session.categories
        return Detections(
            masks.boxes + np.array([0, 0, 1, 1], np.float32),
            np.array([self._scores.get(number, np.nan) for number in ids], np.float32),
            [frame.names.get(number, "object") for number in ids],
            np.array([categories.get(number, NO_CLASS) for number in ids], np.int64),
            self.session.size,
            masks,
            tracker_id=np.array(ids, np.int64),
        )

    def export(
        self,
        *,
        overlay: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        rle: str | os.PathLike[str] | None = None,
        table: str | os.PathLike[str] | None = None,
        rate: float | None = None,
    ) -> list[Path]:
        """Writes the frames up to the last one that was given, with the objects that are in them,
        and returns the paths. The first one is that of the schedule, or `start` where it is
        earlier: the iterator of a run that was taken up again begins later, and its export holds
        all frames. Frames before the first object are written, too.

        Arguments and errors are those of `Session.export`.
        """
        last = self._start - 1 if self.frame is None else self.frame.index
        return self.session.export(
            frames=range(min(self._start, self._schedule.first), last + 1),
            overlay=overlay,
            labels=labels,
            rle=rle,
            table=table,
            rate=rate,
        )

    def close(self) -> None:
        """Closes the video. A second call does nothing."""
        self._steps = iter(())
        self.session.close()


def inside(found: Detections, size: tuple[int, int]) -> Detections:
    """The detections with their boxes cut to a picture of (width, height); those outside it are
    left out."""
    boxes = np.clip(found.boxes, 0, [*size, *size])
    return replace(found, boxes=boxes)[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
