"""Words, or any detector's boxes, to labelled masks, in images and videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._image import ImageLike, to_image
from segrid._native import CancelToken, _core, cancel_scope
from segrid._types import Progress
from segrid.detections import Detections
from segrid.detector import Detector, Prompts, check_thresholds, detections
from segrid.detector_outputs import to_detections
from segrid.embedding import Embedding
from segrid.loaded import LoadedModel
from segrid.results import Masks
from segrid.scripted import ScriptedDetector
from segrid.segmenter import Segmenter, batch_limit
from segrid.torch_names import Device, Precision
from segrid.video.detected_tracks import Schedule, Tracks
from segrid.video.sources import VideoLike
from segrid.video.tracker import Tracker

SCRIPTED = (".torchscript", ".torchscript.pt", ".ts")  # ends of the names of scripts


class Pipeline:
    """A detector and a segmenter together: every box becomes a mask, and every mask carries a
    label, a detection score and a predicted IoU.

    Parameters
    ----------
    detector : a `Detector`; or any callable that returns boxes for an (H, W, 3) uint8 RGB array
        (and, where prompts are given, the prompts as second argument): `segrid.Detections`,
        `supervision.Detections`, ultralytics results (its models are given a PIL image), a dict
        with "boxes" and perhaps "scores" and "labels", a tuple (boxes, scores, labels), an (N, 4),
        (N, 5) or (N, 6) array of XYXY, score, class; or a packaged, local or Hugging Face model as
        `Detector` takes it, or a .torchscript file (`ScriptedDetector`, with trust=True); None:
        boxes are given with each call
    segmenter : a `Segmenter`, or a model as `Segmenter` takes it; or a `Tracker`. A model that
        follows objects, such as "facebook/sam2.1-hiera-tiny", serves `track` in either form
    device, precision : for the models that are given by name; as `Segmenter` takes them
    """

    def __init__(
        self,
        detector: Detector | Callable[..., Any] | str | os.PathLike[str] | None = "tiny-detector",
        segmenter: Segmenter | Tracker | str | os.PathLike[str] = "tiny",
        *,
        trust: bool = False,
        device: Device = "auto",
        precision: Precision = "auto",
    ) -> None:
        if isinstance(detector, (str, os.PathLike)):
            scripted = os.fspath(detector).endswith(SCRIPTED)
            detector = (
                ScriptedDetector(detector, trust=trust)
                if scripted
                else Detector(detector, device=device, precision=precision)
            )
        self.detector: Detector | Callable[..., Any] | None = detector
        self._masker: Segmenter | Tracker = (
            segmenter
            if isinstance(segmenter, (Segmenter, Tracker))
            else Segmenter(segmenter, device=device, precision=precision)
        )
        if (
            self.detector is not None
            and not isinstance(self.detector, Detector)
            and not callable(self.detector)
        ):
            raise TypeError(
                "detector: expected a Detector, a callable, a model's name or None, got "
                f"{type(detector).__name__}"
            )

    def with_threads(self, threads: int) -> Pipeline:
        """The same models with shared weights, whose calls use at most this many threads.

        A model's own `threads=` stays where it is smaller. A callable is not changed. Raises
        ValueError below 1.
        """
        detector = (
            self.detector.capped(threads) if isinstance(self.detector, Detector) else self.detector
        )
        return Pipeline(detector, self._masker.capped(threads))

    def __repr__(self) -> str:
        return f"Pipeline({self.detector!r}, {self._masker!r})"

    @property
    def segmenter(self) -> Segmenter:
        """What makes the masks of images."""
        masker = self._masker
        return masker.segmenter if isinstance(masker, Tracker) else masker

    @property
    def tracker(self) -> Tracker:
        """What follows objects through videos, with the segmenter's weights.

        Raises NotImplementedError where its model has no memory.
        """
        masker = self._masker
        return masker if isinstance(masker, Tracker) else Tracker.of(masker)

    def __call__(
        self,
        image: ImageLike,
        prompts: Prompts | None = None,
        *,
        boxes: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
        threshold: float = 0.1,
        nms: float | None = None,
        batch_size: int | None = None,
    ) -> Detections:
        """Detects boxes, then makes their masks.

        With a `Detector` both encoders run at the same time, and the engine goes from boxes to
        masks without a return to Python.

        image : path, bytes, PIL image or array
        prompts, threshold, nms : as in `Detector.detect`, for other detectors too; boxes of a
            callable that gives no scores have the score 1
        batch_size : the largest number of boxes that are decoded to masks at once; default: one
            for each thread
        boxes : (N, 4) XYXY in image pixels, in place of a detector; labels : N texts for them
            ("object" where not given)

        Boxes go to the segmenter as they are, even where they reach beyond the image. Returns
        `Detections` with `masks`.
        Raises ValueError for a wrong mixture of arguments and for boxes that are not finite (of
        `boxes=` also for reversed ones and those without area), and
        what the detector and the segmenter raise.
        """
        check_thresholds(threshold, nms)
        if boxes is not None and prompts is not None:
            raise ValueError(
                "pipeline: give prompts, for the detector, or boxes (with labels); not both"
            )
        if boxes is None and labels is not None:
            raise ValueError(
                "pipeline: labels belong to boxes; without them the detector names what it finds"
            )
        pixels = to_image(image)
        if boxes is None and isinstance(self.detector, Detector):
            if prompts is None:
                raise ValueError("pipeline: no prompts; say what to look for, or give boxes")
            texts, label_of, names = self.detector.texts_of(prompts)
            columns, native = LoadedModel.together(
                _core.detect_and_segment,
                [self.detector, self.segmenter],
                pixels,
                texts,
                label_of,
                threshold,
                nms,
                batch_limit(batch_size),
            )
            return detections(columns, names, _size(pixels), pixels, Masks(native, pixels))
        if boxes is None and self.detector is None:
            raise ValueError("pipeline: no boxes, and no detector to find them")
        stop = CancelToken()
        with ThreadPoolExecutor(1) as encoder_thread:
            encoding = encoder_thread.submit(self._encode, pixels, [*CancelToken.scopes(), stop])
            try:
                if boxes is not None:
                    found = to_detections(
                        {"boxes": boxes} | ({} if labels is None else {"labels": labels}),
                        _size(pixels),
                    )
                    _check_corners(found.boxes)
                else:
                    found = _ask(self.detector, pixels, prompts, threshold, nms)
                embedding = encoding.result()
            except BaseException:  # an error or Ctrl-C does not wait for the encoder
                stop.cancel()
                raise
        if len(found):
            masks = self.segmenter.predict(
                embedding, boxes=found.boxes, anywhere=True, batch_size=batch_size
            ).over(pixels)
        else:
            masks = Masks(_core.no_masks(*_size(pixels)), pixels)
        return Detections(
            found.boxes,
            found.scores,
            found.labels,
            found.class_id,
            found.size,
            masks,
            pixels,
        )

    def track(
        self,
        video: VideoLike,
        prompts: Prompts | None = None,
        *,
        every: int | None = None,
        match_iou: float = 0.5,
        threshold: float = 0.1,
        nms: float | None = 0.5,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
        **options: int | bool | None,
    ) -> Tracks:
        """Detects objects in a video and follows them.

        video : as `Tracker.open` takes it
        prompts, threshold : as in a call with an image; all prompts take one pass over a frame
        nms : as in a call with an image, but 0.5 where it is not given
        every : n: objects are detected in the first frame, and in every n-th frame after it; None:
            in the first one only
        match_iou : a detection is a followed object if they have the same label and at least this
            mask IoU (one detection for each object, the best pairs first). Detections that fit no
            object are new, and join with the next number
        progress : called after each frame, as in `Session.propagate`
        cancel : a token; when it is cancelled, the next step raises `segrid.Cancelled`
        options : of `Tracker.open` and `Session`: long_side, memory_frames, max_objects, ...

        Returns an iterator of `Detections` with `tracker_id`, one for each frame: see `Tracks`.
        Raises ValueError for values that do not fit, NotImplementedError where the segmenter has no
        memory of video, what `Tracker.open` raises, and from a step what the detector raises.
        """
        check_thresholds(threshold, nms)
        schedule = Schedule(every=every, match_iou=match_iou)
        detector = self.detector
        if detector is None:
            raise ValueError("pipeline: a detector is needed to find the objects of a video")
        if isinstance(detector, Detector):
            if prompts is None:
                raise ValueError("pipeline: no prompts; say what to look for")
            detector.texts_of(prompts)  # raises for prompts that do not fit

        def detect(picture: NDArray[np.uint8]) -> Detections:
            if isinstance(detector, Detector) and prompts is not None:
                return detector.detect(picture, prompts, threshold=threshold, nms=nms)
            return _ask(detector, to_image(picture), prompts, threshold, nms)

        tracker = self.tracker
        session = tracker.open(video, **options)
        return Tracks(
            session, tracker.segmenter, detect, schedule, progress=progress, cancel=cancel
        )

    def _encode(self, pixels: _core.Image, tokens: list[CancelToken]) -> Embedding:
        with cancel_scope(tokens):
            return self.segmenter.encode(pixels)


def _check_corners(boxes: NDArray[np.float32]) -> None:
    """Raises ValueError naming the first box of a user that is reversed or has no area."""
    bad = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if len(bad):
        raise ValueError(
            f"boxes[{bad[0]}]: {boxes[bad[0]].tolist()} is reversed or has no area; boxes are "
            "(x0, y0, x1, y1) with x0 < x1 and y0 < y1"
        )


def _size(pixels: _core.Image) -> tuple[int, int]:
    height, width = pixels.array.shape[:2]
    return int(height), int(width)


def _ask(
    detector: Any, pixels: _core.Image, prompts: Prompts | None, threshold: float, nms: float | None
) -> Detections:
    if isinstance(detector, ScriptedDetector):
        if prompts is not None:
            raise ValueError(
                "pipeline: a TorchScript detector has classes of its own and takes no prompts"
            )
        return detector.detect(pixels, threshold=threshold, nms=nms)
    array: Any = pixels.array
    if type(detector).__module__.split(".")[0] == "ultralytics":  # takes arrays for BGR
        from PIL import Image

        array = Image.fromarray(array)
    return _filtered(
        to_detections(
            detector(array) if prompts is None else detector(array, prompts),
            _size(pixels),
            prompts,
        ),
        threshold,
        nms,
    )


def _filtered(found: Detections, threshold: float, nms: float | None) -> Detections:
    """The boxes with scores above the threshold, best first, after non-maximum suppression in each
    class where `nms` is given."""
    order = np.argsort(-found.scores, kind="stable")
    found = found[order[found.scores[order] > threshold]]
    if nms is None or len(found) == 0:
        return found
    return found[_core.box_nms_by_label(found.boxes, found.scores, found.class_id, nms)]
