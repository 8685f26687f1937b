"""Detectors in TorchScript files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from segrid._downloads import check_model_file
from segrid._image import ImageLike, to_image
from segrid._native import _core
from segrid.detections import Detections
from segrid.detector import check_thresholds


class ScriptedDetector:
    """A YOLO-style detector in a TorchScript file, run by LibTorch inside the engine:
    `Pipeline(ScriptedDetector(path, trust=True), segmenter)`.

    Parameters
    ----------
    path : the file (ultralytics: `yolo export format=torchscript`)
    trust : must be True. Loading such a file can run any code in it; True says that you know its
        origin
    side : the side of its square input, pixels; None: the file's value, else 640
    classes : names; None: the file's names, else "class 0", ...
    layout : the layout of its first output: "channels" [1, 4 + classes, n] (YOLOv8 to 11),
        "objectness" [1, n, 5 + classes] (YOLOv5, v7), "finished" [1, n, 6] with XYXY, score and
        class (YOLOv10, 26, exports with NMS); "auto": by the output's shape

    It computes on one worker at a time; meanwhile a `Pipeline` encodes for the segmenter on the
    other workers.
    Raises ValueError without trust, FileNotFoundError, CorruptFileError for other files.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        trust: bool = False,
        side: int | None = None,
        classes: Sequence[str] | None = None,
        layout: str = "auto",
    ) -> None:
        if trust is not True:
            raise ValueError(
                f"{os.fspath(path)}: a TorchScript file can run any code when it is loaded; pass "
                "trust=True if you know where it comes from"
            )
        self.path, self._layout = os.fspath(path), layout
        if os.path.isfile(self.path):  # the engine names a file that is missing
            check_model_file(self.path, binary="TorchScript")
        self._engine = _core.ScriptedDetector(self.path, side or 0, layout)
        self.classes = list(classes) if classes is not None else list(self._engine.names)

    def __reduce__(self) -> tuple[object, ...]:
        # Unpickling loads the file again. The user trusted it when this object was made.
        return (_rebuild, (self.path, self._engine.side, self.classes, self._layout))

    def __repr__(self) -> str:
        return f"ScriptedDetector({self.path!r}, side={self.side})"

    @property
    def side(self) -> int:
        """The side of the square input, in pixels."""
        return self._engine.side

    def detect(
        self, image: ImageLike, *, threshold: float = 0.25, nms: float | None = 0.7
    ) -> Detections:
        """Boxes with scores above the threshold, best first, clipped to the image.

        Non-maximum suppression drops the worse of two boxes of one class whose IoU exceeds `nms`.
        The image is scaled to fit the input with an antialiased filter, centred, and padded with
        gray, as in ultralytics.

        Raises NotImplementedError for outputs of other layouts, CorruptFileError where the script
        fails, ValueError, and what `Segmenter.encode` raises.
        """
        check_thresholds(threshold, nms)
        pixels = to_image(image)
        boxes, scores, kinds, _ = self._engine.detect(pixels, threshold, nms)
        names = [self.classes[k] if k < len(self.classes) else f"class {k}" for k in kinds.tolist()]
        height, width = pixels.array.shape[:2]
        return Detections(boxes, scores, names, kinds, (int(height), int(width)), None, pixels)

    def __call__(self, image: ImageLike) -> Detections:
        """`detect` with its defaults."""
        return self.detect(image)


def _rebuild(path: str, side: int, classes: list[str], layout: str) -> ScriptedDetector:
    return ScriptedDetector(path, trust=True, side=side, classes=classes, layout=layout)
