"""Parameters and bodies that several calls share, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from segrid._types import JsonObject

LongSide = Annotated[int | None, Query(ge=16, le=8192)]
OCTETS = {"schema": {"type": "string", "format": "binary"}}


def upload_of(field: str, *types: str, body: type[BaseModel] | None = None) -> JsonObject:
    """The body of an upload: raw, or a form with a file in a field; or JSON of a schema."""
    form = {
        "schema": {
            "type": "object",
            "properties": {field: {"type": "string", "format": "binary"}},
            "required": [field],
        }
    }
    content: JsonObject = {kind: OCTETS for kind in (*types, "application/octet-stream")}
    content["multipart/form-data"] = form
    if body is not None:
        content["application/json"] = {"schema": body.model_json_schema()}
    return {"requestBody": {"required": True, "content": content}}
