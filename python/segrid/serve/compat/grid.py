"""The grid tool that exists: Flask around SAM 2, on port 5000, for photos.

Its page needs another address only. There is no classifier here, so that `labels` is empty, as it
is there without one."""

from __future__ import annotations

import shutil
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from segrid import Cancelled, Masks, Segmenter, read_image
from segrid.compat.grid import GridOptions, grid_masks
from segrid.serve.compat.grid_pictures import BLUE, COLOURS, cut_outs, largest_first, overlay
from segrid.serve.compat.grid_schemas import (
    Configured,
    Corners,
    Failed,
    Parallel,
    Segment,
    Segmented,
    Uploaded,
)
from segrid.serve.errors import ServiceError
from segrid.serve.image_calls import IN_MEMORY, ImageCalls
from segrid.serve.images import EncodedImage
from segrid.serve.mask_formats import refuse_not_finite
from segrid.serve.service import Service, service_of

MOST_BYTES = 16 << 20  # of an upload
IN_ZIP = 10  # masks at most
BAD: dict[int | str, dict[str, Any]] = {
    status: {"model": Failed} for status in (400, 404, 413, 500)
}


class GridTool:
    """The tool as a part of the server, below `prefix`."""

    prefix = "/compat/grid"

    def __init__(self, service: Service) -> None:
        self.app = FastAPI(title="Grid segmentation", version="1.0.0")
        self.app.state.service, self.app.state.parallel = service, Parallel()
        add_routes(self.app)
        add_handlers(self.app)

    async def start(self) -> None:
        """Does nothing: the model is the server's."""

    async def stop(self) -> None:
        """Does nothing."""


def refused(text: str, status: int = 400) -> HTTPException:
    return HTTPException(status, text)


def add_routes(app: FastAPI) -> None:
    """The paths of the tool."""

    @app.post(
        "/upload", response_model=Uploaded, responses=BAD, openapi_extra={"requestBody": FORM}
    )
    async def upload(request: Request) -> Uploaded:
        """Takes an image of at most 16 MB, in the field `image` of a form."""
        with SpooledTemporaryFile(max_size=IN_MEMORY) as spooled:
            file = cast(BinaryIO, spooled)
            await _receive(request, file)
            image = await ImageCalls(service_of(request), request).put_file(None, file)
        height, width = image.size
        return Uploaded(
            file_id=image.image_id, filename=f"{image.image_id}.png", width=width, height=height
        )

    @app.post("/segment", response_model=Segmented, response_model_exclude_none=True, responses=BAD)
    async def segment(request: Request, asked: Segment) -> Segmented:
        """The image with the masks of points, of a box or of a grid in colour."""
        if not asked.file_id or not asked.prompt_type:
            raise refused("Missing required parameters")
        if asked.prompt_type != "grid" and not asked.prompts:
            raise refused("Missing prompts parameter")
        image = _image(request, asked.file_id)
        if asked.prompt_type not in ("points", "bbox", "grid"):
            raise refused("Invalid prompt type")
        is_box, wants_box = isinstance(asked.prompts, Corners), asked.prompt_type == "bbox"
        if asked.prompt_type != "grid" and is_box != wants_box:
            raise refused(f"Invalid prompts parameter for the type {asked.prompt_type}")
        model = service_of(request).models.segmenter(image.model)
        work = _with_grid if asked.prompt_type == "grid" else _with_prompt
        return await service_of(request).compute(
            request, work, model, image, asked, app.state.parallel
        )

    @app.get("/download_psds/{file_id}", response_class=Response, responses=BAD | {200: ZIP})
    async def download_psds(request: Request, file_id: str) -> Response:
        """A zip of the best masks, at most ten: a PNG of each, transparent outside the mask."""
        image = _image(request, file_id)
        model = service_of(request).models.segmenter(image.model)
        content = await service_of(request).compute(
            request, _cut_out, model, image, app.state.parallel
        )
        if content is None:
            raise refused("No masks found", 404)
        name = f"masks_{image.image_id}.zip"
        headers = {"Content-Disposition": f"attachment; filename={name}"}
        return Response(content, media_type="application/zip", headers=headers)

    @app.post("/configure_parallel", response_model=Configured, responses=BAD)
    async def configure_parallel(request: Request, asked: Parallel) -> Configured:
        """Sets how grids are segmented, for all who use the tool."""
        most = service_of(request).settings.everything_points ** 2
        if asked.target_points > most:
            raise refused(f"target_points: the limit is {most} (everything_points squared)")
        app.state.parallel = asked
        return Configured(config=asked)


FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}},
            }
        }
    },
}
ZIP: dict[str, Any] = {"content": {"application/zip": {}}}


async def _receive(request: Request, file: BinaryIO) -> None:
    """Writes the image of a form into a file. Raises HTTPException."""
    too_large = refused(f"The image is larger than {MOST_BYTES >> 20} MB", 413)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MOST_BYTES + (1 << 16):  # what frames the image
        raise too_large
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            image = form.get("image")
            if image is None:
                raise refused("No image provided")
            if not isinstance(image, UploadFile) or not image.filename:
                raise refused("No file selected")
            if (image.size or 0) > MOST_BYTES:
                raise too_large
            shutil.copyfileobj(image.file, file)
    except (MultiPartException, KeyError) as error:  # KeyError: no boundary
        raise refused("No image provided") from error


def _image(request: Request, file_id: str) -> EncodedImage:
    try:
        return service_of(request).images.get(file_id)
    except ServiceError as error:
        raise refused("Image file not found", 404) from error


def _with_prompt(
    model: Segmenter, image: EncodedImage, asked: Segment, parallel: Parallel
) -> Segmented:
    """The mask of points or of a box, in blue. It computes."""
    if isinstance(asked.prompts, Corners):
        box = asked.prompts
        corners = [box.x1, box.y1, box.x2, box.y2]
        found = model.predict(image.embedding, boxes=corners, sort_corners=True, anywhere=True)
    else:
        corners = None
        clicks = asked.prompts or []
        found = model.predict(
            image.embedding,
            points=np.array([[(click.x, click.y) for click in clicks]]),
            labels=np.array([[click.label for click in clicks]]),
            anywhere=True,
        )
    refuse_not_finite(found, found.scores, None, None)
    picture = overlay(read_image(image.content), found, (BLUE,))
    return Segmented(segmented_image=picture, box=corners)


def _with_grid(
    model: Segmenter, image: EncodedImage, asked: Segment, parallel: Parallel
) -> Segmented:
    """The masks of a grid, each in a colour, larger ones below. It computes."""
    found = largest_first(_grid(model, image, parallel, parallel.max_masks))
    picture = overlay(read_image(image.content), found, COLOURS)
    return Segmented(segmented_image=picture, mask_count=len(found), labels=[])


def _cut_out(model: Segmenter, image: EncodedImage, parallel: Parallel) -> bytes | None:
    """The zip of the best masks; None without any. It computes."""
    found = _grid(model, image, parallel, IN_ZIP)
    return cut_outs(read_image(image.content), found) if len(found) else None


def _grid(model: Segmenter, image: EncodedImage, parallel: Parallel, most: int) -> Masks:
    options = GridOptions(
        target_points=parallel.target_points, max_masks=most, max_workers=parallel.max_workers
    )
    found = grid_masks(model, image.embedding, image.size, options)
    refuse_not_finite(found, found.scores, None, None)
    return found


def add_handlers(app: FastAPI) -> None:
    """Errors as the tool gives them, {"error": text}."""

    def answer(text: str, status: int, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": text}, status, headers)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(str(error.detail), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(f"{where}: {first['msg']}" if where else first["msg"], 400)

    @app.exception_handler(ServiceError)
    async def of_service(request: Request, error: ServiceError) -> JSONResponse:
        service_of(request).count_error(error)
        status = {415: 400, 422: 400}.get(error.status, error.status)
        return answer(error.message, status, error.headers)

    @app.exception_handler(Cancelled)
    async def of_cancelling(request: Request, error: Exception) -> JSONResponse:
        return answer("the service stops", 503, {"Retry-After": "5"})
