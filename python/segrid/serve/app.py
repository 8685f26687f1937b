"""The application: its routers, its middleware, its life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPBearer

import segrid
from segrid._types import JsonObject
from segrid.serve.compat import PARTS
from segrid.serve.errors import add_handlers
from segrid.serve.limits import Gate
from segrid.serve.metrics import CONTENT_TYPE
from segrid.serve.page_routes import add_page
from segrid.serve.service import Service
from segrid.serve.settings import Settings
from segrid.serve.v1 import health, images, jobs, models, sessions
from segrid.serve.v1.schemas import errors

# For the OpenAPI document; the gate has checked it before (limits.py).
TOKEN = HTTPBearer(auto_error=False, description="where the service has a token")
METRICS: dict[int | str, JsonObject] = {200: {"content": {"text/plain": {}}}, **errors()}


def create_app(settings: Settings | None = None, *, secret: bytes | None = None) -> FastAPI:
    """The service as an ASGI application.

    settings : default: those of the environment
    secret : from which the ids of images are made; default: a new one

    Its start loads the models and raises what that raises.
    """
    settings = Settings.from_environment() if settings is None else settings
    service = Service(settings, secret)
    parts = {name: PARTS[name](service) for name in settings.compat}

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            for part in parts.values():
                await part.start()
            yield
        finally:
            for part in parts.values():
                await part.stop()
            await service.stop()

    app = FastAPI(
        title="segrid",
        version=segrid.__version__,
        summary="Promptable segmentation of images and videos",
        lifespan=life,
        redoc_url=None,
    )
    app.state.service = service
    add_handlers(app)
    for part in (images, sessions, jobs, models, health):
        app.include_router(part.router, prefix="/v1", dependencies=[Depends(TOKEN)])
    app.state.parts = parts
    for each in parts.values():
        app.mount(each.prefix, each.app)
    add_page(app)

    @app.get("/metrics", tags=["health"], response_class=Response, responses=METRICS)
    async def metrics() -> Response:
        """The numbers of the service for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(Gate, settings=settings, metrics=service.metrics)  # the outermost
    return app
