"""The gate of the service: who may call, request ids, bodies counted while they stream, time-outs,
and a line in the log for each request."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
import time

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segrid.serve.compat.error_forms import error_body
from segrid.serve.errors import ServiceError
from segrid.serve.logs import request_id
from segrid.serve.metrics import Metrics
from segrid.serve.settings import Settings, host_name
from segrid.serve.streamed_body import Bodies, StreamedBody

logger = logging.getLogger("segrid.serve")
OWN_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# Without a token: they show nothing of anybody, and a browser cannot send one for them.
OPEN_TO_ALL = re.compile(r"/|/page/.*|/docs|/openapi\.json|/v1/health|/v1/ready|/favicon\.ico")
PREFIXES = ("/v1", "/compat/video", "/compat/grid")
SAFE = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE, "POST", "PUT", "PATCH", "DELETE")  # the others share a name in the metrics
SUBPROTOCOL = "segrid.bearer."  # + token: browsers send no headers for WebSockets


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._bodies = Bodies(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        own = headers.get("x-request-id", "")
        identity = own if OWN_ID.fullmatch(own) else secrets.token_hex(8)
        mark = request_id.set(identity)
        answer = _Answer(send, identity, scope["path"], self._settings.send_pause)
        begin = time.perf_counter()
        body = StreamedBody(self._bodies, scope, receive)
        try:
            self._check(scope, headers)
            body.check_declared(headers)
            await self._app(scope, body.receive, answer.send_unless(body))
            if body.refused is not None:
                raise body.refused
        except ServiceError as error:
            self._metrics.errors.labels(error.kind).inc()
            await answer.refuse(error)
        except (TimeoutError, asyncio.TimeoutError):
            logger.info("the client does not read its answer")
        except ClientDisconnect:
            logger.info("the client went away before its body was whole")
        except Exception:
            refusal = body.refused
            if refusal is None:
                logger.exception("an error inside the service")
                text = f"an error inside the service; request {identity} in its log"
                refusal = ServiceError(500, "internal", text)
            self._metrics.errors.labels(refusal.kind).inc()
            await answer.refuse(refusal)
        finally:
            body.close()
            self._tell(scope, answer.status, time.perf_counter() - begin)
            request_id.reset(mark)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        mark = request_id.set(secrets.token_hex(8))

        async def timed(message: Message) -> None:
            await asyncio.wait_for(send(message), self._settings.send_pause)

        try:
            self._check(scope, Headers(scope=scope))
            await self._app(scope, receive, timed)
        except ServiceError as error:
            logger.info("refused a WebSocket: %s", error.message)
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": error.kind})
        except (TimeoutError, asyncio.TimeoutError):
            logger.info("the client does not read its stream")
        finally:
            request_id.reset(mark)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises ServiceError for callers that may not call."""
        host = headers.get("host", "")
        if self._settings.hosts and host_name(host) not in self._settings.hosts:
            raise ServiceError(
                421, "wrong_host", "the service has another name (hosts)", setting="hosts"
            )
        if self._settings.token:
            if scope.get("method") == "OPTIONS" and "access-control-request-method" in headers:
                return  # a browser asks whether it may call; it sends no token with that
            if not OPEN_TO_ALL.fullmatch(scope["path"]) and not self._has_token(headers):
                raise ServiceError(
                    401, "no_token", "send Authorization: Bearer with the service's token"
                )
            return
        origin = headers.get("origin")
        if origin is None or scope.get("method") in SAFE or origin in self._settings.cors:
            return
        if origin not in (f"http://{host}", f"https://{host}"):  # a page of another site calls
            raise ServiceError(
                403, "other_site", "pages of other sites may not call (cors)", setting="cors"
            )

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        sent = [given.strip()] if kind.lower() == "bearer" else []
        for protocol in headers.get("sec-websocket-protocol", "").split(","):
            if protocol.strip().startswith(SUBPROTOCOL):
                sent.append(protocol.strip()[len(SUBPROTOCOL) :])
        token = self._settings.token.encode()
        return any([hmac.compare_digest(each.encode(), token) for each in sent])

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client")
        facts = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "client": client[0] if client else None,
        }
        logger.info(
            "%s %s %d %.1f ms", method, route, status, 1000 * seconds, extra={"facts": facts}
        )


class _Answer:
    """The answer to one request, which has the request's id in its headers."""

    def __init__(self, send: Send, identity: str, path: str, pause: float) -> None:
        self._send, self._identity, self._path, self._pause = send, identity, path, pause
        self.status = 499  # the client went away before it was answered
        self._has_begun = False

    def send_unless(self, body: StreamedBody) -> Send:
        """The application's way to answer. Where its body was refused, that is the answer, whatever
        the application makes of it."""

        async def send(message: Message) -> None:
            if body.refused is not None and not self._has_begun:
                return
            if message["type"] == "http.response.start":
                self._has_begun, self.status = True, message["status"]
                own = (b"x-request-id", self._identity.encode())
                message = {**message, "headers": [*message["headers"], own]}
            await asyncio.wait_for(self._send(message), self._pause)

        return send

    async def refuse(self, error: ServiceError) -> None:
        """Answers with an error, unless an answer has begun."""
        if self._has_begun:
            return
        self._has_begun, self.status = True, error.status
        body = json.dumps(error_body(error, self._path)).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",  # the rest of the body is not read
            "x-request-id": self._identity,
            **error.headers,
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        try:
            await asyncio.wait_for(self._start_and_end(error.status, raw, body), self._pause)
        except OSError:  # the client is gone
            pass

    async def _start_and_end(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def route_of(scope: Scope) -> str:
    """The address of a request with the names of its parameters, "other" where there is none."""
    own = getattr(scope.get("route"), "path", None)
    if own is None:
        return "other"
    prefix = scope["path"].split("/")[: -own.count("/")]
    return "/".join(prefix) + own if "/".join(prefix) in PREFIXES else own
