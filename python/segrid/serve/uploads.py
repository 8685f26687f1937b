"""Uploads: raw bodies or one file of a form, received piece by piece."""

from __future__ import annotations

import shutil
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException

from segrid.serve.errors import ServiceError, invalid

FORM_FIELDS = 8  # besides the file


def media_type(headers: Headers) -> str:
    """The type of a body without parameters, in small letters; empty where none is given."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def receive(request: Request, field: str, family: str, file: BinaryIO) -> None:
    """Writes an upload into a file: a raw body of the type family/* or application/octet-stream, or
    the file in a field of a form.

    Raises ServiceError: 415 for other types, 400 for a damaged form, 422 for nothing.
    """
    kind = media_type(request.headers)
    if kind == "multipart/form-data":
        await _from_form(request, field, file)
    elif kind == "application/octet-stream" or kind.startswith(f"{family}/"):
        async for piece in request.stream():
            file.write(piece)
    else:
        raise ServiceError(
            415,
            "wrong_content_type",
            f"Content-Type: expected {family}/*, application/octet-stream or multipart/form-data "
            f"with the field {field}",
        )
    if file.tell() == 0:
        raise invalid("the upload is empty")


async def _from_form(request: Request, field: str, file: BinaryIO) -> None:
    try:
        async with request.form(max_files=1, max_fields=FORM_FIELDS) as form:
            upload = form.get(field)
            if not isinstance(upload, UploadFile):
                raise invalid(f"the form has no file in the field {field}")
            # A copy may take seconds: other requests go on meanwhile.
            await run_in_threadpool(shutil.copyfileobj, upload.file, file)
    except (MultiPartException, KeyError) as error:  # KeyError: no boundary
        raise ServiceError(400, "bad_form", "the form is damaged") from error
