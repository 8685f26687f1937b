"""Connections that send no request in time are closed."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from segrid.serve.settings import Settings

MORE = 1.25  # times the connections that get an answer: the others are told that it is busy


def timed_protocol(settings: Settings) -> type[H11Protocol]:
    """uvicorn's HTTP, where the headers of a request must come within `header_seconds`, and where a
    client that takes nothing for `send_pause` is dropped."""

    class TimedProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(cast("asyncio.Transport", transport))
            if len(self.connections) > MORE * settings.connections:
                self.transport.abort()
                return
            own = transport.get_extra_info("socket")
            if own is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
                pause = round(1000 * settings.send_pause)
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, pause)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            has_part = bool(self.conn.trailing_data[0])
            if self.conn.their_state is h11.IDLE and has_part:
                self._watch()
            else:
                self._unwatch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(settings.header_seconds, self._too_slow)

        def _unwatch(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            if self.transport.get_protocol() is self:
                self.transport.abort()

    return TimedProtocol
