"""Images in the service."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from segrid._types import JsonObject, Progress
from segrid.client.connection import Connection
from segrid.client.jobs import Job
from segrid.client.masks import Detected, FoundMask, found_mask, sent_mask


class RemoteImage:
    """An image that the service has encoded. All coordinates are its pixels, boxes are XYXY.

    Attributes
    ----------
    image_id : with it `Client.image_of` finds the image again
    width, height : pixels
    model : the name of the model that encoded it
    """

    def __init__(self, connection: Connection, facts: JsonObject) -> None:
        self._connection = connection
        self.image_id: str = facts["image_id"]
        self.width: int = facts["width"]
        self.height: int = facts["height"]
        self.model: str = facts["model"]
        self._address = f"/v1/images/{self.image_id}"

    def predict(
        self,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        hint: ArrayLike | JsonObject | None = None,
        multimask: bool = False,
    ) -> list[FoundMask]:
        """Masks of prompts.

        points, labels : (K, 2) clicks of one prompt; (K,) 1 in the object, 0 not
        boxes : (P, 4) or (4,), each a prompt
        hint : a mask of the image's size, as an array or as run lengths
        multimask : three masks for each prompt

        Raises ServiceError.
        """
        body = {
            "points": _lists(points, 2),
            "labels": _lists(labels, 1),
            "boxes": _lists(boxes, 2),
            "hint": None if hint is None else sent_mask(hint),
            "multimask": multimask,
        }
        answer = self._connection.json("POST", f"{self._address}/predict", json=body)
        return [found_mask(each) for each in answer["masks"]]

    def everything(self, *, progress: Progress | None = None, **options: Any) -> list[FoundMask]:
        """Masks of everything, with the options of `Segmenter.everything`.

        progress : is called with the job's state; without it the request waits for the masks

        Raises ServiceError, of the kind "cancelled" where another caller cancels the job.
        """
        body = {**options, "wait": progress is None}
        answer = self._connection.json("POST", f"{self._address}/everything", json=body)
        if progress is not None:
            answer = Job(self._connection, answer["job_id"]).wait(progress)["result"]
        return [found_mask(each) for each in answer["masks"]]

    def detect(
        self,
        prompts: str | list[str],
        *,
        threshold: float = 0.1,
        nms: float | None = None,
        masks: bool = True,
        model: str | None = None,
    ) -> list[Detected]:
        """Boxes, and masks, of what the prompts name, best score first. Raises ServiceError."""
        body = {
            "prompts": [prompts] if isinstance(prompts, str) else prompts,
            "threshold": threshold,
            "nms": nms,
            "masks": masks,
            "model": model,
        }
        answer = self._connection.json("POST", f"{self._address}/detect", json=body)
        return [
            Detected(d["label"], d["class_id"], d["score"], d["box"], d["mask"])
            for d in answer["detections"]
        ]

    def picture(self, long_side: int | None = None) -> bytes:
        """The image as a JPEG. Raises ServiceError."""
        how = {} if long_side is None else {"params": {"long_side": long_side}}
        return self._connection.send("GET", f"{self._address}/picture", **how).content

    def delete(self) -> None:
        """Lets the service forget the image. Raises ServiceError."""
        self._connection.send("DELETE", self._address)


def _lists(values: ArrayLike | None, dimensions: int) -> list[object] | None:
    """Nested lists of an array; a single row counts as one of several."""
    if values is None:
        return None
    array = np.asarray(values)
    return (array[None] if array.ndim == dimensions - 1 else array).tolist()
