"""The masks of one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from segrid._types import ImageItem, JsonObject
from segrid.notebook_picture import NotebookPicture

if TYPE_CHECKING:
    from segrid import _core


class Masks(NotebookPicture):
    """N masks over one image, kept as runs of pixels; `array` renders them on first access.

    An index (an int, a slice, a boolean or an index array) gives `Masks` again; iteration gives
    `Masks` of one mask each. NumPy takes `Masks` as their `array`: `np.asarray(masks)` copies
    nothing.
    Two `Masks` are equal when all masks and their attributes are equal (NaN equals NaN); their
    `stats` and their images do not count. Copies and pickles hold everything except what was
    written into `array`; a process pool may return them. They are not hashable.

    Attributes
    ----------
    array : (N, H, W) bool, shares the engine's memory, and is the same memory at each access. It
        stays valid when all other objects are gone. It is writable: later accesses of `array` show
        what was written, while runs, boxes and areas do not change. Above 8 GiB it raises
        MemoryError, naming the size
    boxes : (N, 4) float32 XYXY, pixels, inclusive maximum (segment-anything's convention); zeros
        for empty masks
    areas : (N,) int64, pixels
    scores : (N,) float32, predicted IoU
    object_scores : (N,) float32, SAM 2's logit that there is an object at the prompt, from
        `predict`; NaN where the model has none
    stability : (N,) float32, count(logit > +offset) / count(logit > -offset)
    points : (N, 2) float64, the click that made the mask; NaN where there was none
    prompt : (N,) int64, the index of the prompt of each mask
    crop_boxes : (N, 4) float32 XYXY, the crop in which each mask was found, exclusive maximum
    rle : list of N COCO RLE dicts {"size": [H, W], "counts": bytes}, as pycocotools writes them
    low_res : (N, h, w) float32 logits of `predict`, usable as `mask_hints`; None after `everything`
    stats : {"seconds": {stage: s}, "peak_memory_mb": MB}. On a device also "batch_size", the number
        of prompts in the last batch; "halved", how often the batch was halved because memory ran
        out (with a RuntimeWarning); and "peak_device_memory_mb", the peak of the device's memory
        that this process has used so far (0 on the CPU)
    """

    noun = "masks"

    def __init__(self, native: _core.MaskSet, image: ImageItem = None) -> None:
        self._native = native
        self._image = image

    def __len__(self) -> int:
        return len(self._native)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, pixels."""
        return self._native.size

    @property
    def array(self) -> NDArray[np.bool_]:
        """(N, H, W) bool, shared with the engine (see the class).

        Raises MemoryError above 8 GiB, naming the size.
        """
        array = self._native.dense()
        return array if len(self) else array.reshape(0, *self.size)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """`array` for NumPy. It is shared, except where a copy is requested or another dtype needs
        one. Raises ValueError where `copy` is False and the dtype is not bool."""
        array = self.array
        if dtype is None or np.dtype(dtype) == array.dtype:
            return array.copy() if copy else array
        if copy is False:
            raise ValueError(
                f"masks: their array is bool; {np.dtype(dtype)} needs a copy, which "
                "copy=False forbids (masks.array.view('uint8') shares the memory)"
            )
        return array.astype(dtype)

    def __eq__(self, other: object) -> bool:
        return self._native == other._native if isinstance(other, Masks) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def boxes(self) -> NDArray[np.float32]:
        return self._native.boxes

    @property
    def areas(self) -> NDArray[np.int64]:
        return self._native.areas

    @property
    def scores(self) -> NDArray[np.float32]:
        return self._native.scores

    @property
    def object_scores(self) -> NDArray[np.float32]:
        return self._native.object_scores

    @property
    def stability(self) -> NDArray[np.float32]:
        return self._native.stability

    @property
    def points(self) -> NDArray[np.float64]:
        return self._native.points

    @property
    def prompt(self) -> NDArray[np.int64]:
        return self._native.prompt

    @property
    def crop_boxes(self) -> NDArray[np.float32]:
        return self._native.crop_boxes

    @property
    def rle(self) -> list[dict[str, Any]]:
        return self._native.rles()

    @property
    def uncompressed_rle(self) -> list[JsonObject]:
        """RLE in segment-anything's form: counts are a list of ints that begins with zeros."""
        return [
            {"size": list(self.size), "counts": self._native.counts(i)} for i in range(len(self))
        ]

    @property
    def low_res(self) -> NDArray[np.float32] | None:
        return self._native.low_res

    @property
    def stats(self) -> JsonObject:
        return self._native.stats

    def __getitem__(self, key: Any) -> Masks:
        n = len(self)
        if isinstance(key, (int, np.integer)):
            if not -n <= key < n:
                raise IndexError(f"masks: index {key} is out of range for {n} masks")
            indices = [int(key) % n]
        elif isinstance(key, slice):
            indices = list(range(n))[key]
        else:
            index = np.asarray(key)
            if index.dtype == bool:
                if index.shape != (n,):
                    raise IndexError(f"masks: boolean index of shape {index.shape} for {n} masks")
                index = np.flatnonzero(index)
            if index.size == 0:
                index = index.astype(np.int64)
            if index.ndim != 1 or index.dtype.kind not in "iu":
                raise IndexError("masks: index with an int, a slice, a boolean or an integer array")
            if index.size and (index.min() < -n or index.max() >= n):
                raise IndexError(f"masks: index out of range for {n} masks")
            indices = [int(i) % n for i in index]
        return Masks(self._native.select(indices), self._image)

    def __iter__(self) -> Iterator[Masks]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        h, w = self.size
        return f"Masks({len(self)} masks of {h} x {w})"

    def over(self, image: ImageItem) -> Masks:
        """The same masks, with another image to be shown on (None: without one)."""
        return Masks(self._native, image)

    def resized(self, size: tuple[int, int]) -> Masks:
        """The masks at another size (H, W) in pixels, resized by nearest neighbour, with the boxes
        and areas of that size.

        Raises ValueError for sizes below 1 or above the engine's limit.
        """
        return Masks(self._native.resized(int(size[0]), int(size[1])))

    def measure(self, image: ImageItem = None) -> dict[str, NDArray[np.float64]]:
        """Measures each mask, in pixels.

        image : an image of the masks' size; None: the image that was segmented

        Returns {"centroid": (N, 2) float64 x, y, where the centre of pixel (y, x) is x, y; "axes":
        (N, 2), the major and the minor axis of the ellipse with the same second moments; "angle":
        (N,), the angle of the major axis to the x axis, in radians, clockwise on the screen;
        "intensity": (N, 3), mean R, G, B of the image, NaN without an image}. All are NaN for empty
        masks.

        Raises ValueError when the image's size differs from the masks'.
        Source: skimage.measure.regionprops.
        """
        from segrid._image import to_image

        image = self._image if image is None else image
        return self._native.measure(None if image is None else to_image(image))

    def polygons(self) -> list[list[list[NDArray[np.int64]]]]:
        """A list of polygons for each mask; filled, they are exactly the mask.

        There is one polygon for each 4-connected part. A polygon is a list of rings: the outer one
        first, then its holes. A ring is (M, 2) int64 x, y of pixel corners, and its first corner is
        not repeated at its end.
        """
        return [self._native.polygons(i) for i in range(len(self))]

    def label_map(self) -> NDArray[np.uint16 | np.uint32]:
        """(H, W) uint16 (uint32 above 65535 masks): 0 is background, i + 1 is mask i.

        Where masks overlap, the smaller one is on top.
        """
        return self._native.label_map()

    def to_coco(self, image_id: int = 0, category_id: int = 1) -> list[JsonObject]:
        """COCO result annotations of the masks.

        Each has segmentation (RLE, counts as str), bbox XYWH (pycocotools' toBbox), area, score and
        iscrowd 0.
        """
        boxes, areas, scores = self._native.coco_bboxes, self.areas, self.scores
        records = []
        for i, rle in enumerate(self._native.rles()):
            rle["counts"] = rle["counts"].decode("ascii")
            records.append(
                {
                    "id": i + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": rle,
                    "bbox": boxes[i].tolist(),
                    "area": int(areas[i]),
                    "score": float(scores[i]),
                    "iscrowd": 0,
                }
            )
        return records

    def to_supervision(self) -> Any:
        """``supervision.Detections`` with masks, and predicted IoU as confidence.

        Needs the supervision package.
        """
        import supervision as sv

        xywh = self._native.coco_bboxes
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
        return sv.Detections(
            xyxy=xyxy,
            mask=self.array,
            confidence=self.scores.copy(),
            class_id=np.zeros(len(self), int),
        )

    def picture(self, image: ImageItem = None, alpha: float = 0.5) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: every mask in a colour of its own over an image.

        image : an image of the masks' size; None: the image that was segmented, else black
        alpha : the opacity of the colours inside the outlines: 0 shows the image, 1 the colours
            alone

        Raises ValueError when the image's size differs from the masks'.
        """
        from segrid._image import to_image

        if image is None:
            image = self._image
        rgb = (
            np.zeros((*self.size, 3), np.uint8)
            if image is None
            else np.asarray(to_image(image).array)
        )
        return self._native.overlay(rgb, alpha)
