"""Exceptions become a status and {"error": {"kind", "message", ...}} without internals."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from segrid import Cancelled, CorruptFileError
from segrid._types import JsonObject

logger = logging.getLogger("segrid.serve")
NOTHING_HERE = "there is nothing at this address, or it is gone"
ADVICE = re.compile(r" \(lenient=True [^()]*\)")
FILE_PATH = re.compile(r"(?:/[^\s/:;,'\"()]+){2,}/?")  # of the server, in a message


class ServiceError(Exception):
    """An error that a caller is told.

    status : of HTTP
    kind : a word for programs
    setting : the setting that causes it
    retry_after : seconds after which to try again
    facts : more fields of the answer
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        setting: str | None = None,
        retry_after: float | None = None,
        facts: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message
        self.setting, self.retry_after, self.facts = setting, retry_after, facts or {}

    @property
    def body(self) -> JsonObject:
        named = {} if self.setting is None else {"setting": self.setting}
        return {"error": {"kind": self.kind, "message": self.message, **named, **self.facts}}

    @property
    def headers(self) -> dict[str, str]:
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(1, round(self.retry_after)))}


def not_found() -> ServiceError:
    """The one answer for what does not exist, whatever was asked for."""
    return ServiceError(404, "not_found", NOTHING_HERE)


def invalid(message: str, setting: str | None = None) -> ServiceError:
    """The answer for a value that does not fit."""
    return ServiceError(422, "invalid", message, setting=setting)


def too_large(message: str, setting: str) -> ServiceError:
    """The answer for what is above a limit."""
    return ServiceError(413, "too_large", message, setting=setting)


# What the engine says of a mask that holds no numbers.
NOT_FINITE = re.compile(r"(?:frame (\d+), object (-?\d+): )?[^:]* not a finite number")


class NotFinite(ServiceError):
    """The model gave a mask that holds no numbers: it is never shown as an empty mask.

    frame : None for an image
    """

    def __init__(self, frame: int | None, objects: list[int]) -> None:
        where = "" if frame is None else f"frame {frame}, object {', '.join(map(str, objects))}: "
        facts: JsonObject = {} if frame is None else {"frame": frame, "objects": objects}
        super().__init__(
            500,
            "not_finite",
            f"{where}the model gave a mask that is not finite; its weights or its precision "
            "overflow. Run the service with precision=fp32",
            facts=facts,
        )


@contextmanager
def engine_errors() -> Iterator[None]:
    """A block that calls the engine: its errors of values become answers for the caller. All other
    exceptions are faults of the service, and their texts stay here."""
    try:
        yield
    except (ServiceError, Cancelled):
        raise
    except CorruptFileError as error:
        raise ServiceError(422, "corrupt_file", shown(error)) from error
    except IndexError as error:  # FrameNotFound is one, too
        raise ServiceError(404, "frame_not_found", shown(error)) from error
    except NotImplementedError as error:
        raise ServiceError(415, "not_supported", shown(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise invalid(shown(error)) from error
    except MemoryError as error:
        raise ServiceError(
            503, "out_of_memory", "the server has too little memory for this", retry_after=30
        ) from error
    except RuntimeError as error:
        found = NOT_FINITE.search(str(error))
        if found is None:
            raise
        if found[1] is None:
            raise NotFinite(None, []) from error
        raise NotFinite(int(found[1]), [int(found[2])]) from error


def shown(error: BaseException) -> str:
    """The message of an error for a caller over HTTP: without the folders of the server (of a path
    its name stays), and without advice that names arguments of Python."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = ADVICE.sub("", text)
    return FILE_PATH.sub(lambda path: Path(path[0]).name, text)


def answer(error: ServiceError) -> JSONResponse:
    """The response of an error."""
    return JSONResponse(error.body, error.status, error.headers)


def add_handlers(app: FastAPI) -> None:
    """Makes the app answer with errors of this form alone, and count them."""

    def told(request: Request, error: ServiceError) -> JSONResponse:
        request.app.state.service.count_error(error)
        return answer(error)

    @app.exception_handler(ServiceError)
    async def of_service(request: Request, error: ServiceError) -> JSONResponse:
        return told(request, error)

    @app.exception_handler(Cancelled)
    async def of_cancelling(request: Request, error: Exception) -> JSONResponse:
        stops = ServiceError(503, "cancelled", "the service stops", retry_after=5)
        return told(request, stops)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return told(request, ServiceError(400, "not_json", "the body is not JSON"))
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return told(request, invalid(f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, ServiceError):  # of the body: the gate answers and counts it
            return answer(error.__cause__)
        if error.status_code == 404:
            return told(request, not_found())
        kinds = {400: "bad_request", 405: "method_not_allowed"}
        kind = kinds.get(error.status_code, "error")
        found = told(request, ServiceError(error.status_code, kind, str(error.detail)))
        found.headers.update(error.headers or {})
        return found
