"""What the image calls of every interface do."""

from __future__ import annotations

import base64
import math
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

import numpy as np
from fastapi import Request

from segrid import CancelToken, Detections, Embedding, Masks, read_image
from segrid._types import JsonObject, Options
from segrid.segmenter import DEFAULT_POINTS
from segrid.serve.errors import engine_errors, invalid
from segrid.serve.images import EncodedImage, encode_file
from segrid.serve.jobs import Job
from segrid.serve.mask_formats import (
    Form,
    MaskRecord,
    formatted,
    hint_logits,
    jpeg,
    kept,
    label_map,
    read_mask,
    until_cancelled,
)
from segrid.serve.service import Service
from segrid.serve.uploads import receive
from segrid.serve.v1.schemas import MOST_BOXES, DetectBody, EverythingBody, PredictBody, Rle

IN_MEMORY = 1 << 20  # bytes of an upload that stay in memory while it waits


class ImageCalls:
    """The calls of one request."""

    def __init__(self, service: Service, request: Request) -> None:
        self._service, self._request = service, request

    async def put(self, model: str | None) -> EncodedImage:
        """Encodes the image that the request uploads. Raises ServiceError."""
        with SpooledTemporaryFile(max_size=IN_MEMORY) as spooled:
            file = cast("BinaryIO", spooled)
            await receive(self._request, "image", "image", file)
            return await self.put_file(model, file)

    async def put_file(self, model: str | None, file: BinaryIO) -> EncodedImage:
        """Encodes the image in an open file."""
        models, settings = self._service.models, self._service.settings
        name = model or models.default_segmenter()
        segmenter = models.segmenter(name)
        image_id = await self._service.read(self._service.images.id_of, name, file)
        return await self._service.images.put(
            image_id,
            name,
            lambda: self._service.compute(self._request, encode_file, segmenter, file, settings),
        )

    async def picture(self, image_id: str, long_side: int | None) -> bytes:
        """The image as a JPEG."""
        image = self._service.images.get(image_id)
        return await self._service.read(lambda: jpeg(read_image(image.content), long_side))

    async def predict(self, image_id: str, body: PredictBody) -> JsonObject:
        """The masks of prompts. Raises ServiceError."""
        image = self._service.images.get(image_id)
        boxes = len(body.boxes or [])
        if (body.points is not None or body.hint is not None) and boxes > 1:
            raise invalid("boxes: points and a hint go together with one box at most")
        return await self._service.compute(self._request, self._predicted, image, body)

    def _predicted(self, image: EncodedImage, body: PredictBody) -> JsonObject:
        model = self._service.models.segmenter(image.model)
        hints = None
        if body.hint is not None:
            hint = body.hint.model_dump() if isinstance(body.hint, Rle) else body.hint
            hints = hint_logits(read_mask("hint", hint, image.size), model)
        masks = model.predict(
            image.embedding,
            points=None if body.points is None else np.array([body.points]),
            labels=None if body.labels is None else np.array([body.labels]),
            boxes=body.boxes,
            mask_hints=hints,
            multimask=body.multimask,
        )
        return masks_json(masks, body.format)

    def everything_options(self, body: EverythingBody) -> Options:
        """The options that were given. Raises ServiceError where they cost too much."""
        settings = self._service.settings
        most = settings.everything_points
        options = body.model_dump(exclude_none=True, exclude={"format", "wait"})
        if options.get("points_per_side", 0) > most:
            raise invalid(
                f"points_per_side: the limit is {most} (everything_points)",
                setting="everything_points",
            )
        if options.get("target_points", 0) > most * most:
            raise invalid(
                f"target_points: the limit is {most * most} (everything_points squared)",
                setting="everything_points",
            )
        if options.get("crop_n_layers", 0) > settings.everything_crop_layers:
            raise invalid(
                f"crop_n_layers: the limit is {settings.everything_crop_layers} "
                "(everything_crop_layers)",
                setting="everything_crop_layers",
            )
        if not {"points_per_side", "target_points"} & options.keys() and DEFAULT_POINTS > most:
            options["points_per_side"] = most
        return options

    async def everything(self, image_id: str, body: EverythingBody) -> JsonObject:
        """The masks of everything. Raises ServiceError."""
        image = self._service.images.get(image_id)
        options = self.everything_options(body)
        return await self._service.compute(
            self._request, self._everything, image, options, body.format, None
        )

    def start_everything(self, image_id: str, body: EverythingBody) -> Job:
        """Starts `everything` as a job."""
        self._service.images.get(image_id)
        options = self.everything_options(body)

        def work(job: Job) -> JsonObject:
            image = self._service.images.get(image_id)  # a job that waits holds none
            with engine_errors():
                return self._everything(image, options, body.format, job)

        return self._service.jobs.start(Job("everything"), work, self._service.job_threads)

    def _everything(
        self, image: EncodedImage, options: Options, form: Form, job: Job | None
    ) -> JsonObject:
        model = self._service.models.segmenter(image.model)
        progress = None
        if job is not None:

            def progress(state: JsonObject, job: Job = job) -> None:
                job.advance(state["done"], state["total"])

        source: Embedding | bytes = image.embedding
        if options.get("crop_n_layers"):  # every crop is encoded on its own
            source = image.content
        token: CancelToken | None = None if job is None else job.token
        masks = model.everything(source, progress=progress, cancel=token, **options)
        return masks_json(masks, form, token)

    async def detect(self, image_id: str, body: DetectBody) -> JsonObject:
        """What the prompts name. Raises ServiceError."""
        image = self._service.images.get(image_id)
        self._service.models.detector(body.model)
        return await self._service.compute(self._request, self._detected, image, body)

    def _detected(self, image: EncodedImage, body: DetectBody) -> JsonObject:
        models = self._service.models
        detector = models.detector(body.model)
        scene = self._service.images.scene(body.model or "", image, detector.encode)
        found = detector.detect(scene, body.prompts, threshold=body.threshold, nms=body.nms)
        assert isinstance(found, Detections)  # one scene was given, not a list
        return {"detections": self._with_masks(image, found, body)}

    def _with_masks(
        self, image: EncodedImage, found: Detections, body: DetectBody
    ) -> list[JsonObject]:
        height, width = image.size
        boxes = np.clip(found.boxes, 0, [width, height, width, height])
        masks: list[MaskRecord] = []
        if body.masks and len(found) > MOST_BOXES:
            raise invalid(
                f"threshold: {len(found)} boxes are above it, and at most {MOST_BOXES} get masks; "
                "give a higher one, or nms"
            )
        if body.masks and len(found):
            model = self._service.models.segmenter(image.model)
            whole = model.predict(image.embedding, boxes=boxes, anywhere=True)
            masks = kept(whole, whole.scores)
        return [
            {
                "label": label,
                "class_id": int(kind),
                "score": float(score),
                "box": [float(side) for side in box],
                "mask": formatted(masks[i].rle, body.format) if masks else None,
            }
            for i, (label, kind, score, box) in enumerate(
                until_cancelled(zip(found.labels, found.class_id, found.scores, boxes, strict=True))
            )
        ]


def masks_json(masks: Masks, form: Form, token: CancelToken | None = None) -> JsonObject:
    """The masks of an image as the API gives them. Raises NotFinite, Cancelled."""
    found = kept(masks, masks.scores)
    each = [
        {
            "mask": formatted(record.rle, form),
            "score": record.score,
            "stability": float(stability) if math.isfinite(stability) else None,
            "area": record.area,
            "box": record.box,
            "prompt": int(prompt),
        }
        for record, stability, prompt in until_cancelled(
            zip(found, masks.stability, masks.prompt, strict=True), token
        )
    ]
    if form != "label_map":
        return {"masks": each}
    numbers = list(range(1, len(found) + 1))
    picture = label_map([record.rle for record in found], numbers, masks.size)
    return {"masks": each, "label_map": base64.b64encode(picture).decode("ascii")}
