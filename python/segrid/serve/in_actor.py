"""The whole application inside another process, which is asked by messages and not by a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from starlette.types import Message, Scope

import segrid
from segrid.serve.app import create_app
from segrid.serve.errors import ServiceError
from segrid.serve.settings import Settings

AHEAD = 16  # pieces of an answer that wait for their reader

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Call:
    """One request. path : decoded; client : the address of the caller"""

    method: str
    path: str
    query: bytes = b""
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    client: str = ""

    def scope(self) -> Scope:
        """The request as ASGI has it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": self.headers,
            "client": (self.client, 0),
            "server": ("segrid", 80),
        }


@dataclass(frozen=True)
class Head:
    """The beginning of an answer; pieces of its body follow."""

    status: int
    headers: Headers


class AppInActor:
    """The application. Who may call was checked before.

    secret : of the ids of images, the same in all processes, so that an image has one id
    threads : the thread budget of the process
    """

    def __init__(self, settings: Settings, secret: bytes, threads: int) -> None:
        segrid.set_threads(threads)
        inside = replace(settings, token="", hosts=(), state_dir="", restore=False)
        self._app = create_app(inside, secret=secret)
        self._life = self._app.router.lifespan_context(self._app)

    async def start(self) -> None:
        """Loads the models. Raises what loading them raises."""
        await self._life.__aenter__()

    async def stop(self) -> None:
        """Closes everything."""
        await self._life.__aexit__(None, None, None)

    def has_image(self, image_id: str) -> bool:
        """Whether an image is encoded here."""
        try:
            self._app.state.service.images.get(image_id)
        except ServiceError:
            return False
        return True

    def image_ids(self) -> list[str]:
        """The images that are encoded here."""
        return self._app.state.service.images.ids()

    def forget_image(self, image_id: str) -> None:
        """Drops an image, where it is encoded here."""
        self._app.state.service.images.forget(image_id)

    def job_ids(self) -> list[str]:
        """The jobs that can be asked for here."""
        return [job.job_id for job in self._app.state.service.jobs.all()]

    def session_count(self) -> int:
        """The number of open sessions."""
        return len(self._app.state.service.sessions)

    async def answer(self, call: Call) -> AsyncIterator[Head | bytes]:
        """A head and the pieces of the body, as they come. Where the reader stops, the request is
        one whose client went away."""
        pieces: asyncio.Queue[Message | None] = asyncio.Queue(AHEAD)
        gone = asyncio.Event()
        whole = [{"type": "http.request", "body": call.body, "more_body": False}]

        async def receive() -> Message:
            if whole:
                return whole.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def run() -> None:
            try:
                await self._app(call.scope(), receive, pieces.put)
            finally:
                if not gone.is_set():
                    await pieces.put(None)

        running = asyncio.create_task(run())
        try:
            while (message := await pieces.get()) is not None:
                if message["type"] == "http.response.start":
                    yield Head(message["status"], list(message["headers"]))
                elif message["type"] == "http.response.body" and message.get("body"):
                    yield message["body"]
            await running
        finally:
            gone.set()
            while not pieces.empty():
                pieces.get_nowait()
            running.cancel()
