"""Errors in the form of the service whose address was called."""

from __future__ import annotations

from segrid._types import JsonObject
from segrid.serve.errors import ServiceError

FIELDS = {"/compat/video": "detail", "/compat/grid": "error"}  # that hold the text


def error_body(error: ServiceError, path: str) -> JsonObject:
    """The body of an error at an address: the text alone in the services that exist."""
    for prefix, field in FIELDS.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return {field: error.message}
    return error.body
