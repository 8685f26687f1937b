"""The objects found in an image: boxes, scores, labels, and masks where there are some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from segrid._types import ImageItem, JsonObject
from segrid.notebook_picture import NotebookPicture
from segrid.results import Masks


@dataclass(frozen=True, eq=False)
class Detections(NotebookPicture):
    """N labelled boxes over one image, best score first.

    An index (an int, a slice, a boolean or an index array) gives `Detections` again.

    Two are equal when all attributes except the image are equal. They can be pickled with their
    masks and image; a process pool may return them. They are not hashable. NumPy takes them as one
    object, not as a sequence.

    Attributes
    ----------
    boxes : (N, 4) float32 XYXY, image pixels, as the detector gave them: they may reach beyond the
        image
    scores : (N,) float32, 0..1, detection scores
    labels : list of N str
    class_id : (N,) int64, the index of the prompt or class of each box
    masks : `Masks`, one for each box in the same order (their scores are predicted IoUs), or None
    size : (H, W) of the image, pixels
    tracker_id : (N,) int64, the numbers of the objects in a video (`Pipeline.track`), or None

    Raises ValueError where the lengths differ.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: list[str]
    class_id: NDArray[np.int64]
    size: tuple[int, int]
    masks: Masks | None = None
    image: ImageItem = field(default=None, repr=False)
    tracker_id: NDArray[np.int64] | None = None

    noun = "detections"  # (not a field)

    def __post_init__(self) -> None:
        boxes = (
            np.ascontiguousarray(self.boxes, np.float32).reshape(-1, 4)
            if len(self.boxes) == 0
            else np.ascontiguousarray(self.boxes, np.float32)
        )
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(
            self, "scores", np.ascontiguousarray(self.scores, np.float32).reshape(-1)
        )
        object.__setattr__(
            self, "class_id", np.ascontiguousarray(self.class_id, np.int64).reshape(-1)
        )
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"detections: boxes must be (N, 4) XYXY, got {boxes.shape}")
        lengths = {
            "boxes": len(boxes),
            "scores": len(self.scores),
            "labels": len(self.labels),
            "class_id": len(self.class_id),
        }
        if self.masks is not None:
            lengths["masks"] = len(self.masks)
        if self.tracker_id is not None:
            ids = np.ascontiguousarray(self.tracker_id, np.int64).reshape(-1)
            object.__setattr__(self, "tracker_id", ids)
            lengths["tracker_id"] = len(ids)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"detections: lengths differ: {lengths}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return (
            all(
                np.array_equal(getattr(self, name), getattr(other, name), equal_nan=True)
                for name in ("boxes", "scores", "class_id")
            )
            and list(self.labels) == list(other.labels)
            and tuple(self.size) == tuple(other.size)
            and self.masks == other.masks
            and np.array_equal(self.tracker_id, other.tracker_id)  # type: ignore[arg-type]
        )

    __hash__ = None  # type: ignore[assignment]

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.object_]:
        """A zero-dimensional array of dtype object that holds these `Detections`.

        NumPy would otherwise nest without end, because each item is `Detections` again. Raises
        TypeError for other dtypes.
        """
        if dtype is not None and np.dtype(dtype) != object:
            raise TypeError(
                "detections: they are no array of numbers; take .boxes, .scores, "
                ".class_id or .masks"
            )
        single = np.empty((), object)
        single[()] = self
        return single

    def __getitem__(self, key: Any) -> Detections:
        n = len(self)
        index = np.arange(n)[
            np.atleast_1d(np.asarray(key))
            if not isinstance(key, slice) and np.size(key)
            else key
            if isinstance(key, slice)
            else np.zeros(0, int)
        ]
        return Detections(
            self.boxes[index],
            self.scores[index],
            [self.labels[i] for i in index],
            self.class_id[index],
            self.size,
            None if self.masks is None else self.masks[index],
            self.image,
            None if self.tracker_id is None else self.tracker_id[index],
        )

    def __iter__(self) -> Iterator[Detections]:
        return (self[i] for i in range(len(self)))

    def to_coco(self, image_id: int = 0) -> list[JsonObject]:
        """COCO result annotations of the detections.

        Each has bbox XYWH, score (None for an object of a video that no detector found) and
        category_id = class_id + 1; with masks also segmentation (RLE,
        counts as str), area and predicted_iou.
        """
        records = [] if self.masks is None else self.masks.to_coco(image_id)
        out = []
        for i, (x0, y0, x1, y1) in enumerate(self.boxes.tolist()):
            record: JsonObject = {
                "id": i + 1,
                "image_id": image_id,
                "category_id": int(self.class_id[i]) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "score": None if np.isnan(self.scores[i]) else float(self.scores[i]),
                "iscrowd": 0,
            }
            if records:
                record |= {
                    "segmentation": records[i]["segmentation"],
                    "area": records[i]["area"],
                    "predicted_iou": records[i]["score"],
                }
            out.append(record)
        return out

    def to_supervision(self) -> Any:
        """``supervision.Detections`` with xyxy, confidence, class_id and data["class_name"].

        It has masks and tracker_id where there are some, and needs the supervision package.
        """
        import supervision as sv

        return sv.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_id.astype(int),
            mask=None if self.masks is None else self.masks.array,
            tracker_id=None if self.tracker_id is None else self.tracker_id.astype(int),
            data={"class_name": np.array(self.labels, dtype=str)},
        )

    def picture(self, image: ImageItem = None, alpha: float = 0.5) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: boxes with labels and scores, and outlines of masks, over an image.

        A class whose label names a colour ("a red circle") is drawn in that colour, other classes
        in colours of a palette.

        image : an image of the same size; None: the image of the detections, else black
        alpha : 0 does not change the inside of masks, 1 brightens it most

        Raises ValueError for an alpha outside 0..1 and for an image of another size.
        """
        from segrid._image import to_image
        from segrid.overlay import labelled_picture

        if not 0 <= alpha <= 1:
            raise ValueError(f"picture: alpha must be from 0 to 1, got {alpha}")
        image = self.image if image is None else image
        rgb = np.zeros((*self.size, 3), np.uint8) if image is None else to_image(image).array
        if rgb.shape[:2] != tuple(self.size):
            raise ValueError(
                f"picture: the image is {rgb.shape[0]} x {rgb.shape[1]}, the detections are of "
                f"{self.size[0]} x {self.size[1]}"
            )
        return labelled_picture(rgb, self, alpha)
