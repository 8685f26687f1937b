"""Sends each request to the process of the cluster that can answer it."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from segrid.serve.errors import ServiceError, not_found
from segrid.serve.in_actor import Call, Head
from segrid.serve.settings import Settings
from segrid.serve.v1.schemas import EverythingBody

Answer = AsyncGenerator[Head | bytes, None]
OfRay = Any  # an object of Ray, whose types are not known

NAMESPACE = "segrid"
DIRECTORY, COMMON = "directory", "common"  # names of actors
IMAGE = re.compile(r"/v1/images/([^/]+)(/.*)?")
SESSION = re.compile(r"/v1/sessions/([^/]+)(/.*)?")
JOB = re.compile(r"/v1/jobs/([^/]+)(/.*)?")
TRIES = 4  # of a request whose replica is lost before it has answered


class Forward:
    """An ASGI application: the same addresses as the application of one process.

    Calls about images go to any replica of the deployment `images` (they change nothing and may be
    made again), those of a session to its actor, and what has a state besides (jobs of images, the
    services that exist) to one common actor.

    images : gives the handle of the deployment
    start_session : makes the actor of a session, by its name
    """

    def __init__(
        self,
        settings: Settings,
        images: Callable[[], OfRay],
        start_session: Callable[[str], Awaitable[None]],
    ) -> None:
        self._settings, self._images, self._start_session = settings, images, start_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise ServiceError(501, "not_supported", "on a cluster events come by /events alone")
        call = await _read(scope, receive)
        answer = self._answer(call)
        try:
            async for piece in answer:
                if isinstance(piece, Head):
                    head = {"type": "http.response.start", "status": piece.status}
                    await send({**head, "headers": piece.headers})
                else:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await answer.aclose()
        await send({"type": "http.response.body", "body": b""})

    def _answer(self, call: Call) -> Answer:
        if call.path.rstrip("/") == "/v1/images" and call.method == "POST":
            return self._upload(call)
        if call.path.rstrip("/") == "/v1/sessions" and call.method == "POST":
            return self._open(call)
        if found := IMAGE.fullmatch(call.path):
            return self._of_image(call, found[1], found[2] or "")
        if found := SESSION.fullmatch(call.path):
            return self._of_session(call, found[1], found[2] or "")
        if found := JOB.fullmatch(call.path):
            return self._of_job(call, found[1])
        if call.path.startswith("/compat/"):
            return self._by_actor(COMMON, call)
        return self._by_replica(call, None)

    async def _upload(self, call: Call) -> Answer:
        head, body = await _whole(self._by_replica(call, None))
        if head.status == 201:
            image_id = json.loads(body)["image_id"]
            await _directory().keep_image.remote(image_id, call)
        yield head
        yield body

    async def _of_image(self, call: Call, image_id: str, rest: str) -> Answer:
        if call.method == "DELETE" and not rest:
            if not await _directory().delete_image.remote(image_id):
                raise not_found()
            yield Head(204, [])
            return
        if not await _directory().has_image.remote(image_id):
            raise not_found()
        if _is_job(call):
            head, body = await _whole(self._by_actor(COMMON, call, image_id))
            await _keep_job(head, body, COMMON)
            yield head
            yield body
            return
        async for piece in self._by_replica(call, image_id):
            yield piece

    async def _open(self, call: Call) -> Answer:
        name, directory = f"session-{secrets.token_hex(8)}", _directory()
        if not await directory.take_place.remote(name):
            raise ServiceError(
                429,
                "too_many_sessions",
                f"{self._settings.max_sessions} sessions are open, which is the limit "
                "(max_sessions); close one, or wait until one times out",
                setting="max_sessions",
                retry_after=30,
            )
        opened = None
        try:
            await self._start_session(name)
            head, body = await _whole(self._by_actor(name, call))
            if head.status == 201:
                opened = json.loads(body)["session_id"]
        finally:
            await directory.opened.remote(name, opened)
            if opened is None:
                kill(name)
        yield head
        yield body

    async def _of_session(self, call: Call, session_id: str, rest: str) -> Answer:
        directory = _directory()
        name = await directory.session.remote(session_id)
        if name is None:
            raise not_found()
        try:
            if call.method == "POST" and rest == "/propagate":
                head, body = await _whole(self._by_actor(name, call))
                await _keep_job(head, body, name)
                yield head
                yield body
            else:
                async for piece in self._by_actor(name, call):
                    yield piece
        except ServiceError as error:
            if error.kind == "actor_lost":
                await directory.closed.remote(session_id)
            raise
        if call.method == "DELETE" and not rest:
            await directory.closed.remote(session_id)
            kill(name)

    async def _of_job(self, call: Call, job_id: str) -> Answer:
        name = await _directory().job.remote(job_id)
        if name is None:
            raise not_found()
        async for piece in self._by_actor(name, call):
            yield piece

    async def _by_replica(self, call: Call, image_id: str | None) -> Answer:
        """The answer of a replica; of another one where the first is lost before it answers."""
        from ray.exceptions import RayError

        for left in reversed(range(TRIES)):
            has_begun = False
            try:
                handle = self._images().options(stream=True, method_name="call")
                async for piece in handle.remote(call, image_id):
                    has_begun = True
                    yield piece
                return
            except RayError as error:
                if has_begun or not left:
                    raise ServiceError(
                        503, "actor_lost", "a machine failed; try again", retry_after=2
                    ) from error
                await asyncio.sleep(0.2)

    async def _by_actor(self, name: str, call: Call, image_id: str | None = None) -> Answer:
        import ray
        from ray.exceptions import RayError

        try:
            actor = ray.get_actor(name, NAMESPACE)
            pieces: OfRay = actor.call.options(num_returns="streaming").remote(call, image_id)
            async for piece in pieces:
                yield await piece
        except (RayError, ValueError) as error:  # ValueError: there is no such actor any more
            raise ServiceError(
                410, "actor_lost", "its process is gone and its state with it; open it again"
            ) from error


async def _live(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _read(scope: Scope, receive: Receive) -> Call:
    """The whole request. The gate before this application counts its bytes."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServiceError(400, "bad_request", "the body is not complete")
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    kept = [(name, value) for name, value in scope["headers"] if name != b"transfer-encoding"]
    client = scope.get("client") or ("", 0)
    return Call(
        scope["method"],
        scope["path"],
        scope.get("query_string", b""),
        kept,
        b"".join(pieces),
        client[0],
    )


async def _whole(answer: Answer) -> tuple[Head, bytes]:
    """The head and the body of an answer that is short."""
    head, pieces = None, []
    async for piece in answer:
        if isinstance(piece, Head):
            head = piece
        else:
            pieces.append(piece)
    if head is None:
        raise ServiceError(503, "actor_lost", "a process gave no answer", retry_after=2)
    return head, b"".join(pieces)


def _is_job(call: Call) -> bool:
    """Whether a call about an image asks for a job."""
    if call.method != "POST" or not call.path.endswith("/everything"):
        return False
    try:
        return not EverythingBody.model_validate(json.loads(call.body)).wait
    except ValueError:  # any replica says what is wrong with it
        return False


async def _keep_job(head: Head, body: bytes, actor: str) -> None:
    if head.status == 202:
        await _directory().keep_job.remote(json.loads(body)["job_id"], actor)


def _directory() -> OfRay:
    import ray

    return ray.get_actor(DIRECTORY, NAMESPACE)


def kill(name: str) -> None:
    """Ends an actor, where there is one of that name."""
    import ray

    try:
        ray.kill(ray.get_actor(name, NAMESPACE))
    except ValueError:  # it is gone
        pass
