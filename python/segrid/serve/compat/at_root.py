"""A part of the server at the root of a port of its own."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class AtRoot:
    """The paths below `prefix` of an app, without the prefix. Everything else is the app's, also
    its limits and its state; its life (start, end) is run by the server of the app itself."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            # the pages of the documentation name their addresses with the prefix
            if path != self._prefix and not path.startswith(f"{self._prefix}/"):
                raw = scope.get("raw_path") or path.encode()
                path = self._prefix + path
                scope = {**scope, "path": path, "raw_path": self._prefix.encode() + raw}
        await self._app(scope, receive, send)
