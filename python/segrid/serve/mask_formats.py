"""Masks as the API gives and takes them: COCO run lengths, PNG, polygons, label map."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segrid import Cancelled, CancelToken, Masks, Segmenter
from segrid._types import JsonObject, Samples
from segrid.run_lengths import decode_rle
from segrid.serve.errors import NotFinite, invalid
from segrid.serve.mask_rings import rings

Form = Literal["rle", "png", "polygons", "label_map"]
MaskValue = JsonObject | str | list[list[list[int]]] | None  # as a format has it
T = TypeVar("T")
HINT_LOGIT = 10.0  # of the pixels of a mask that is a hint, as in sam2's add_new_mask


class MaskRecord(NamedTuple):
    """One mask, small enough to be kept.

    rle : COCO's compressed form, counts as text
    score : predicted IoU of an image's mask, object score (a logit) of a video's
    box : XYXY, inclusive maximum; zeros for an empty mask
    """

    rle: JsonObject
    score: float
    area: int
    box: list[float]


def kept(
    masks: Masks,
    scores: NDArray[np.float32],
    frame: int | None = None,
    ids: list[int] | None = None,
) -> list[MaskRecord]:
    """The masks as records.

    frame, ids : of a video, for the error

    Raises NotFinite where a score or a logit is not a finite number.
    """
    refuse_not_finite(masks, scores, frame, ids)
    return [
        MaskRecord(
            {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
            float(score),
            int(area),
            [float(side) for side in box],
        )
        for rle, score, area, box in zip(masks.rle, scores, masks.areas, masks.boxes, strict=True)
    ]


def refuse_not_finite(
    masks: Masks, scores: NDArray[np.float32], frame: int | None, ids: list[int] | None
) -> None:
    """Raises NotFinite naming the frame and the objects whose score or logits are no numbers."""
    good = np.isfinite(np.asarray(scores))
    if masks.low_res is not None and len(masks):
        good &= np.isfinite(masks.low_res).all(axis=(1, 2))
    if not good.all():
        bad = np.flatnonzero(~good).tolist()
        raise NotFinite(frame, bad if ids is None else [ids[i] for i in bad])


def mask_json(record: MaskRecord, form: Form) -> JsonObject:
    """{"mask", "score", "area", "box"} in a format."""
    return {
        "mask": formatted(record.rle, form),
        "score": record.score,
        "area": record.area,
        "box": record.box,
    }


def formatted(rle: JsonObject, form: Form) -> MaskValue:
    """A mask in a format: an object of run lengths, text of a PNG, or rings of corners. It is None
    for "label_map", where one picture holds all masks."""
    if form == "label_map":
        return None
    if form == "rle":
        return rle
    mask = decode_rle(rle)
    if form == "png":
        return base64.b64encode(png(mask.astype(np.uint8) * np.uint8(255))).decode("ascii")
    return rings(mask)


def png(picture: Samples) -> bytes:
    """A picture, (H, W) uint8 or uint16 or (H, W, 3) uint8, as a PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def jpeg(picture: NDArray[np.uint8], long_side: int | None, quality: int = 85) -> bytes:
    """A picture, (H, W, 3) uint8 RGB, as a JPEG; larger ones are reduced to the long side."""
    from PIL import Image

    image = Image.fromarray(picture)
    if long_side is not None and max(image.size) > long_side:
        image.thumbnail((long_side, long_side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def label_map(rles: list[JsonObject], numbers: list[int], size: tuple[int, int]) -> bytes:
    """A PNG whose pixels are the numbers of the masks, 0 for none; of 8 bits, or 16 where a number
    is above 255. Where masks overlap, the smaller one is on top.

    Raises ServiceError for numbers below 1 or above 65535.
    """
    if any(not 1 <= number <= 65535 for number in numbers):
        raise invalid("format: a label map holds numbers from 1 to 65535, and here is another one")
    picture = np.zeros(size, np.uint8 if max(numbers, default=0) <= 255 else np.uint16)
    areas = [int(decode_rle(rle).sum()) for rle in until_cancelled(rles)]
    largest_first = sorted(range(len(rles)), key=lambda i: -areas[i])
    for i in until_cancelled(largest_first):  # one at a time: each is as large as the image
        picture[decode_rle(rles[i])] = numbers[i]
    return png(picture)


def until_cancelled(items: Iterable[T], token: CancelToken | None = None) -> Iterator[T]:
    """The items, while neither the token nor one whose `with` block the thread is in is cancelled:
    thousands of masks take minutes to be written. Raises Cancelled."""
    tokens = CancelToken.scopes() + ([] if token is None else [token])
    for item in items:
        if any(one.cancelled for one in tokens):
            raise Cancelled("stopped while the answer was written")
        yield item


def read_mask(field: str, value: JsonObject | str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask that a caller sent: an object of run lengths (compressed or a list of numbers), or
    the text of a PNG in base64 (above 0 is the object).

    size : (H, W) that it must have

    Raises ServiceError naming the field.
    """
    if isinstance(value, str):
        return _read_png(field, value, size)
    if list(value.get("size", [])) != list(size):
        raise invalid(f"{field}.size: expected {list(size)} (height, width)")
    try:
        return decode_rle(value)
    except (KeyError, TypeError, ValueError) as error:
        raise invalid(f"{field}.counts: not the run lengths of a mask of that size") from error


def _read_png(field: str, text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as file:
            if file.size != (size[1], size[0]):
                raise invalid(
                    f"{field}: a picture of {file.size[0]} x {file.size[1]} pixels; expected "
                    f"{size[1]} x {size[0]}"
                )
            return np.asarray(file.convert("L")) > 0
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise invalid(f"{field}: not a PNG in base64") from error


def hint_logits(mask: NDArray[np.bool_], model: Segmenter) -> NDArray[np.float32]:
    """(1, h, w) logits of a mask of an image, as `Segmenter.predict` takes them for hints.

    SAM and MobileSAM see the image with its long side at the model's side and the rest padded, and
    the other families see it resized to the square. Source: sam2's add_new_mask (20 m - 10, resized
    with antialiasing), segment_anything.ResizeLongestSide.
    """
    from PIL import Image

    h, w = model.low_res_size
    height, width = mask.shape
    inner = (h, w)
    if model.family in ("sam", "mobile_sam"):
        scale = max(h, w) / max(height, width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    picture = Image.fromarray(mask.astype(np.float32))
    small = np.asarray(picture.resize((inner[1], inner[0]), Image.Resampling.BILINEAR))
    logits = np.full((1, h, w), -HINT_LOGIT, np.float32)
    logits[0, : inner[0], : inner[1]] = (2 * small - 1) * HINT_LOGIT
    return logits
