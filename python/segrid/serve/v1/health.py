"""Health, readiness."""

from __future__ import annotations

from fastapi import APIRouter, Request

import segrid
from segrid._types import JsonObject
from segrid.serve.errors import ServiceError
from segrid.serve.service import service_of
from segrid.serve.v1.schemas import HealthAnswer, ReadyAnswer, errors

router = APIRouter(tags=["health"], responses=errors())


@router.get("/health", response_model=HealthAnswer)
async def health() -> JsonObject:
    """Whether the process answers."""
    return {"status": "ok", "version": segrid.__version__}


@router.get("/ready", response_model=ReadyAnswer)
async def ready(request: Request) -> JsonObject:
    """Whether it takes work: models are loaded, and it does not stop. Else 503."""
    service = service_of(request)
    if service.is_draining:
        raise ServiceError(503, "stopping", "the service stops", retry_after=10)
    return {
        "ready": True,
        "sessions": len(service.sessions),
        "images": len(service.images),
        "jobs": len(service.jobs.active()),
    }
