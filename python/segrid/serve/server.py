"""Runs the service: sockets, signals, and the end without loss."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from segrid.serve import logs, state_folder
from segrid.serve.app import create_app
from segrid.serve.connections import timed_protocol
from segrid.serve.media import check_root
from segrid.serve.service import Service
from segrid.serve.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST_MESSAGE = 1 << 16  # bytes of a client over a WebSocket; it has nothing to say
LAST_SECOND = 1.0  # of the grace, in which what was cancelled is answered


def run(settings: Settings, host: str, port: int, compat_port: int | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then finishes within `grace`.

    compat_port : a second port, at whose root is the first service of the setting `compat`

    Raises ValueError for an address that others can reach without a token, for a media root that is
    no folder, for a state folder that is a file and for a second port without a service, OSError
    for an address that is taken, and what loading the models raises.
    """
    settings = for_host(settings, host)
    if settings.state_dir:
        state_folder.made(settings.state_dir)  # raises here, and not while the service starts
    if compat_port is not None and not settings.compat:
        raise ValueError("compat-port: needs compat, the service that is at its root")
    logs.configure(as_json=settings.log_json)
    app = create_app(settings)
    app.state.service.models.load_all()
    served: ASGIApp = app
    sockets = [_listening(host, port)]
    if compat_port is not None:
        sockets.append(_listening(host, compat_port))
        served = AtPort(app, sockets[1].getsockname()[1], f"/compat/{settings.compat[0]}")
    server = Server(served, app.state.service)
    server.run(sockets)
    if not server.started:
        raise RuntimeError("the service could not start; its log says why")


def for_host(settings: Settings, host: str) -> Settings:
    """The settings as an address and this machine need them. Without a token callers are those of
    this machine, and they must name it: a name of another site that leads here is refused.

    Raises ValueError for an address that others can reach without a token, and for a media root
    that is no folder.
    """
    check_root(settings.media_root)
    if settings.token:
        return settings
    if not is_loopback(host):
        raise ValueError(
            f"host: others can reach {host}, so that a token is needed. Set SEGRID_SERVE_TOKEN "
            "to a long random text, or use --host 127.0.0.1"
        )
    return settings if settings.hosts else replace(settings, hosts=tuple({*LOOPBACK, host}))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OSError naming the address."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror or error}") from error
    # Connections inherit it. asyncio sets it only on sockets whose protocol is named, and without
    # it the body of an answer waits 40 ms for the client to acknowledge the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class AtPort:
    """An application part of which is at the root of a second port. Addresses that have the part's
    prefix already, as its documentation page and its redirections name them, stay as they are."""

    def __init__(self, app: FastAPI, port: int, prefix: str) -> None:
        self._app, self._port, self._prefix = app, port, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["server"][1] == self._port:
            if not scope["path"].startswith(f"{self._prefix}/"):
                path = self._prefix + scope["path"]
                scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn's server, which ends with 0 after a signal and drains the service first."""

    def __init__(self, served: ASGIApp, service: Service) -> None:
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                served,
                http=timed_protocol(settings),
                ws="websockets-sansio",
                ws_max_size=LONGEST_MESSAGE,
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=bool(settings.proxies),
                forwarded_allow_ips=list(settings.proxies),
                server_header=False,
                limit_concurrency=settings.connections,
                timeout_graceful_shutdown=max(1, round(settings.grace)),
            )
        )
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for each in sockets or []:
                host, port = each.getsockname()[:2]
                name = f"[{host}]" if ":" in host else host
                print(f"segrid: http://{name}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        grace = self._service.settings.grace
        draining = asyncio.create_task(self._service.drain(max(grace / 2, grace - LAST_SECOND)))
        await super().shutdown(sockets)
        await draining

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server. uvicorn would raise them again after it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        both = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in both}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
