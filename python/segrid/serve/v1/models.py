"""The models of the service."""

from __future__ import annotations

from fastapi import APIRouter, Request

from segrid._types import JsonObject
from segrid.serve.service import service_of
from segrid.serve.v1.schemas import ModelAnswer, ModelsAnswer, errors

router = APIRouter(prefix="/models", tags=["models"], responses=errors())


@router.get("", response_model=ModelsAnswer)
async def models(request: Request) -> JsonObject:
    """All models with their kinds, precision and device."""
    models = service_of(request).models
    return {"models": [models.describe(name) for name in models.names()]}


@router.get("/{name}", response_model=ModelAnswer)
async def model(request: Request, name: str) -> JsonObject:
    """One model."""
    return service_of(request).models.describe(name)
