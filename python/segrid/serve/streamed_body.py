"""Bodies are counted while they stream: each has a limit in bytes and in time, and all together
have one, too."""

from __future__ import annotations

import asyncio
import re
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from segrid.serve.errors import ServiceError, too_large
from segrid.serve.settings import Settings
from segrid.serve.uploads import media_type

# What is an upload, by its address, and the setting that limits it. All other bodies are JSON.
UPLOADS = [
    (re.compile(r"/v1/images/?"), "image_bytes"),
    (re.compile(r"/v1/sessions/?"), "video_bytes"),
    (re.compile(r"/v1/sessions/[^/]*/snapshot"), "video_bytes"),
    (re.compile(r"/compat/grid/upload"), "image_bytes"),
]


class Bodies:
    """The bodies that are under way in one server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = {"bodies_in_memory": 0, "uploads_on_disk": 0}  # bytes


class StreamedBody:
    """The body of one request. `refused` is the error for which it was not read to its end."""

    def __init__(self, bodies: Bodies, scope: Scope, receive: Receive) -> None:
        self._bodies, self._receive = bodies, receive
        self._setting, self._total = "json_bytes", "bodies_in_memory"
        is_json = media_type(Headers(scope=scope)) == "application/json"
        for address, setting in UPLOADS:
            if address.fullmatch(scope["path"]) and not is_json:
                self._setting, self._total = setting, "uploads_on_disk"
        self._limit: int = getattr(bodies.settings, self._setting)
        self._bytes = 0
        self._begin: float | None = None
        self._is_whole = False
        self.refused: ServiceError | None = None

    def check_declared(self, headers: Headers) -> None:
        """Raises ServiceError where the header tells that the body is too large."""
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """The application's way to read. Raises ServiceError at a limit."""
        if self._is_whole:
            return await self._receive()
        settings = self._bodies.settings
        now = time.monotonic()
        self._begin = now if self._begin is None else self._begin
        left = self._begin + settings.body_seconds - now
        pause = min(settings.body_pause, left)
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, pause))
        except (TimeoutError, asyncio.TimeoutError):
            setting = "body_pause" if pause == settings.body_pause else "body_seconds"
            raise self._refuse(
                ServiceError(408, "too_slow", f"the body came too slowly ({setting})")
            ) from None
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
            self._is_whole = not message.get("more_body", False)
        else:
            self._is_whole = True  # the client is gone
        return message

    def _count(self, more: int) -> None:
        self._bytes += more
        held = self._bodies.held
        held[self._total] += more
        if self._bytes > self._limit:
            raise self._refuse(self._too_large())
        if held[self._total] > getattr(self._bodies.settings, self._total):
            raise self._refuse(
                ServiceError(
                    429,
                    "busy_server",
                    f"too many bodies are under way ({self._total}); try again later",
                    setting=self._total,
                    retry_after=5,
                )
            )

    def _too_large(self) -> ServiceError:
        return too_large(
            f"the body is larger than {self._limit} bytes ({self._setting})", self._setting
        )

    def _refuse(self, error: ServiceError) -> ServiceError:
        self.refused = error
        return error

    def close(self) -> None:
        """Counts the body no more: the request is answered."""
        self._bodies.held[self._total] -= self._bytes
        self._bytes = 0
