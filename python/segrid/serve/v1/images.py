"""Images: encode once, then predict, everything, detect."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from segrid._types import JsonObject
from segrid.serve.image_calls import ImageCalls
from segrid.serve.images import EncodedImage
from segrid.serve.service import service_of
from segrid.serve.v1.schemas import (
    DetectBody,
    DetectionsAnswer,
    EverythingBody,
    ImageAnswer,
    JobStarted,
    MasksAnswer,
    PredictBody,
    errors,
)
from segrid.serve.v1.upload_schemas import LongSide, upload_of

router = APIRouter(prefix="/images", tags=["images"], responses=errors())


@router.post(
    "",
    status_code=201,
    response_model=ImageAnswer,
    responses=errors(415),
    openapi_extra=upload_of("image", "image/*"),
)
async def put_image(
    request: Request, model: Annotated[str | None, Query(max_length=200)] = None
) -> JsonObject:
    """Encodes an image. The same image gets the same id, and is not encoded again."""
    return image_json(await ImageCalls(service_of(request), request).put(model))


@router.get("/{image_id}", response_model=ImageAnswer)
async def get_image(request: Request, image_id: str) -> JsonObject:
    """The facts of an encoded image. 404 where it was dropped to make room: send it again."""
    return image_json(service_of(request).images.get(image_id))


@router.delete("/{image_id}", status_code=204, response_class=Response)
async def delete_image(request: Request, image_id: str) -> None:
    """Takes back one upload of an image."""
    service_of(request).images.delete(image_id)


@router.get(
    "/{image_id}/picture",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **errors()},
)
async def picture(request: Request, image_id: str, long_side: LongSide = None) -> Response:
    """The image as a JPEG, upright, not larger than the long side in pixels."""
    content = await ImageCalls(service_of(request), request).picture(image_id, long_side)
    return Response(content, media_type="image/jpeg")


@router.post("/{image_id}/predict", response_model=MasksAnswer, responses=errors(500))
async def predict(request: Request, image_id: str, body: PredictBody) -> JsonObject:
    """Masks of points, boxes and a hint."""
    return await ImageCalls(service_of(request), request).predict(image_id, body)


@router.post(
    "/{image_id}/everything",
    response_model=MasksAnswer,
    responses={202: {"model": JobStarted}, **errors()},
)
async def everything(
    request: Request, image_id: str, body: EverythingBody
) -> JsonObject | Response:
    """Masks of everything. With wait=false a job is started (202)."""
    calls = ImageCalls(service_of(request), request)
    if body.wait:
        return await calls.everything(image_id, body)
    job = calls.start_everything(image_id, body)
    return Response(
        JobStarted(job_id=job.job_id, status=job.status).model_dump_json(),
        202,
        media_type="application/json",
    )


@router.post("/{image_id}/detect", response_model=DetectionsAnswer)
async def detect(request: Request, image_id: str, body: DetectBody) -> JsonObject:
    """Boxes, and masks, of what the prompts name."""
    return await ImageCalls(service_of(request), request).detect(image_id, body)


def image_json(image: EncodedImage) -> JsonObject:
    """An image as the API gives it."""
    height, width = image.size
    return {
        "image_id": image.image_id,
        "width": width,
        "height": height,
        "model": image.model,
    }
