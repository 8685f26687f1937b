"""Words, or any detector's boxes, to labelled masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from segrid._image import ImageLike, to_image
from segrid._native import CancelToken, _core, cancel_scope
from segrid.detections import Detections
from segrid.detector import Detector, Prompts, check_thresholds, detections
from segrid.loaded import LoadedModel
from segrid.results import Masks
from segrid.scripted import ScriptedDetector
from segrid.segmenter import Segmenter, batch_limit
from segrid.torch_names import Device, Precision


class Pipeline:
    """Detector and segmenter as one: every box becomes a mask, every mask carries label, detection
    score and predicted IoU.

    Parameters
    ----------
    detector : a `Detector`; or any callable that returns boxes for an (H, W, 3) uint8 RGB array
        (and, where prompts are given, the prompts as second argument): `segrid.Detections`,
        `supervision.Detections`, ultralytics results (its models are given a PIL image), a dict
        with "boxes" and perhaps "scores" and "labels", a tuple (boxes, scores, labels), an (N, 4),
        (N, 5) or (N, 6) array of XYXY, score, class; or a packaged, local or Hugging Face model as
        `Detector` takes it, or a .torchscript file (`ScriptedDetector`, with trust=True); None:
        boxes are given with each call
    segmenter : a `Segmenter`, or a model as it takes it
    device, precision : of those that are given by name; as `Segmenter` takes them
    """

    def __init__(
        self,
        detector: Detector | Callable[..., Any] | str | os.PathLike[str] | None = "tiny-detector",
        segmenter: Segmenter | str | os.PathLike[str] = "tiny",
        *,
        trust: bool = False,
        device: Device = "auto",
        precision: Precision = "auto",
    ) -> None:
        if isinstance(detector, (str, os.PathLike)):
            scripted = os.fspath(detector).endswith((".torchscript", ".torchscript.pt", ".ts"))
            detector = (
                ScriptedDetector(detector, trust=trust)
                if scripted
                else Detector(detector, device=device, precision=precision)
            )
        self.detector: Detector | Callable[..., Any] | None = detector
        self.segmenter = (
            segmenter
            if isinstance(segmenter, Segmenter)
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
        """The same models (weights shared), whose calls use at most this many threads.

        A model's own `threads=` is kept where it is smaller, and a callable stays as it is. Raises
        ValueError below 1.
        """
        detector = (
            self.detector.capped(threads) if isinstance(self.detector, Detector) else self.detector
        )
        return Pipeline(detector, self.segmenter.capped(threads))

    def __repr__(self) -> str:
        return f"Pipeline({self.detector!r}, {self.segmenter!r})"

    def __call__(
        self,
        image: ImageLike,
        prompts: Prompts | None = None,
        *,
        boxes: Any = None,
        labels: Sequence[str] | None = None,
        threshold: float = 0.1,
        nms: float | None = None,
        batch_size: int | None = None,
    ) -> Detections:
        """Detects boxes, then makes their masks.

        With a `Detector` both encoders overlap, and nothing returns to Python in between.

        image : path, bytes, PIL image or array
        prompts, threshold, nms : `Detector.detect`'s; a callable's boxes are taken as they come
            where it gives no scores
        batch_size : most boxes decoded to masks at once; default: one for each thread
        boxes : (N, 4) XYXY in image pixels instead of a detector; labels : N texts for them
            ("object" where not given)

        Boxes go to the segmenter as they are, also where they reach beyond the image. Returns
        `Detections` with `masks`.
        Raises ValueError for a wrong mixture of arguments and for boxes that are not finite, and
        what detector and segmenter raise.
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
        with ThreadPoolExecutor(1) as beside:
            encoding = beside.submit(self._encode, pixels, [*CancelToken.scopes(), stop])
            try:
                if boxes is not None:
                    found = found_boxes(
                        {"boxes": boxes} | ({} if labels is None else {"labels": labels}),
                        _size(pixels),
                    )
                else:
                    found = _ask(self.detector, pixels, prompts, threshold, nms)
                embedding = encoding.result()
            except BaseException:  # Ctrl-C, too, does not wait for the encoder
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

    def _encode(self, pixels: Any, tokens: list[CancelToken]) -> Any:
        with cancel_scope(tokens):
            return self.segmenter.encode(pixels)


def _size(pixels: Any) -> tuple[int, int]:
    height, width = pixels.array.shape[:2]
    return int(height), int(width)


def _ask(
    detector: Any, pixels: Any, prompts: Prompts | None, threshold: float, nms: float | None
) -> Detections:
    if isinstance(detector, ScriptedDetector):
        if prompts is not None:
            raise ValueError(
                "pipeline: a TorchScript detector has classes of its own and takes no prompts"
            )
        return detector.detect(pixels, threshold=threshold, nms=nms)
    array = pixels.array
    if type(detector).__module__.split(".")[0] == "ultralytics":  # takes arrays for BGR
        from PIL import Image

        array = Image.fromarray(array)
    return _thinned(
        found_boxes(
            detector(array) if prompts is None else detector(array, prompts), _size(pixels)
        ),
        threshold,
        nms,
    )


def _numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def found_boxes(result: Any, size: tuple[int, int]) -> Detections:
    """What a detector returned, as `Detections` of an image of that size (H, W).

    It may have any of the forms that `Pipeline` lists.

    Raises ValueError for other forms and for boxes that are not finite.
    """
    if isinstance(result, Detections):
        return result
    names: Any = None
    if isinstance(result, (list, tuple)) and len(result) == 1 and hasattr(result[0], "boxes"):
        result = result[0]  # ultralytics' results of one image
    scores: Any = None
    kinds: Any = None
    if hasattr(result, "xyxy") and hasattr(result, "confidence"):  # supervision
        boxes, scores, kinds, names = (
            result.xyxy,
            result.confidence,
            result.class_id,
            (result.data or {}).get("class_name"),
        )
    elif hasattr(result, "boxes") and hasattr(result.boxes, "xyxy"):  # ultralytics
        boxes, scores, kinds = result.boxes.xyxy, result.boxes.conf, result.boxes.cls
        names = [result.names[int(k)] for k in _numpy(kinds)]
    elif isinstance(result, dict):
        boxes, scores = result.get("boxes"), result.get("scores")
        labels = (
            result.get("labels") if result.get("text_labels") is None else result["text_labels"]
        )
        if labels is not None and len(labels) and isinstance(labels[0], str):
            names = labels
        else:
            kinds = labels
    elif isinstance(result, tuple) and len(result) in (2, 3) and np.ndim(_numpy(result[0])) == 2:
        boxes, scores = result[0], result[1]
        if len(result) == 3:
            names, kinds = (
                (result[2], None)
                if len(result[2]) and isinstance(result[2][0], str)
                else (None, result[2])
            )
    else:
        boxes = result
    if boxes is None:
        raise ValueError("detector: returned no boxes (an empty array says that nothing was found)")
    try:
        array = _numpy(boxes).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"detector: cannot make boxes of {type(result).__name__}; see segrid.Pipeline for the "
            "forms it takes"
        ) from None
    array = array.reshape(0, 4) if array.size == 0 else np.atleast_2d(array)
    if array.ndim != 2 or array.shape[1] not in (4, 5, 6):
        raise ValueError(
            "detector: boxes must be (N, 4) XYXY, or with score and class (N, 5) and (N, 6), got "
            f"{array.shape}"
        )
    if array.shape[1] > 4 and scores is None:
        scores = array[:, 4]
    if array.shape[1] > 5 and kinds is None:
        kinds = array[:, 5]
    bad = np.flatnonzero(~np.isfinite(array[:, :4]).all(axis=1))
    if len(bad):
        raise ValueError(f"boxes[{bad[0]}]: {array[bad[0], :4].tolist()} is not finite")
    n = len(array)
    scores = np.ones(n) if scores is None else _numpy(scores)
    if names is not None:
        names = [str(name) for name in names]
        index = (
            kinds
            if kinds is not None
            else [list(dict.fromkeys(names)).index(name) for name in names]
        )
        return Detections(array[:, :4], scores, names, _numpy(index), size)
    if kinds is None:
        return Detections(array[:, :4], scores, ["object"] * n, np.zeros(n, int), size)
    kinds = _numpy(kinds).astype(int)
    return Detections(array[:, :4], scores, [f"class {k}" for k in kinds], kinds, size)


def _thinned(found: Detections, threshold: float, nms: float | None) -> Detections:
    """The boxes with scores above the threshold, best first.

    One of two boxes of a class whose IoU exceeds nms stays.
    """
    order = np.argsort(-found.scores, kind="stable")
    found = found[order[found.scores[order] > threshold]]
    if nms is None or len(found) == 0:
        return found
    return found[_core.box_nms_by_label(found.boxes, found.scores, found.class_id, nms)]
