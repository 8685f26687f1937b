"""The client: what a service has, and how to send it images and videos."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from segrid._closing import Closing
from segrid._types import JsonObject
from segrid.client.connection import Connection
from segrid.client.images import RemoteImage
from segrid.client.jobs import Job
from segrid.client.sessions import RemoteSession

if TYPE_CHECKING:
    from segrid._image import ImageLike

OCTETS = {"Content-Type": "application/octet-stream"}


class Client(Closing):
    """A client of a running service. Threads may share it; a `with` block closes it at its end.

    Parameters
    ----------
    url : of the service
    token : of the service, where it has one; None: the environment variable SEGRID_SERVE_TOKEN
    timeout : for the server to begin an answer, seconds
    retries : how often a request is sent again that the server was too busy for, after the time
        that it asks for; and how often a lost stream of events is taken up again. Where all
        sessions are taken, or the server asks for more time than `timeout`, the call raises at
        once; `ServiceError.retry_after` has that time
    transport : how httpx2 sends requests; None: over the network
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 120.0,
        retries: int = 3,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        token = os.environ.get("SEGRID_SERVE_TOKEN") if token is None else token
        self._connection = Connection(url, token, timeout, retries, transport)

    def close(self) -> None:
        """Closes the connections. Sessions stay open until they are closed or time out."""
        self._connection.close()

    def image(self, image: ImageLike, *, model: str | None = None) -> RemoteImage:
        """Sends an image, which the service encodes once.

        image : a file's path or its bytes, which are sent as they are; or a PIL image or an array,
            by the rules of `segrid.read_image`
        model : the name of a model of the service; None: its default

        Raises ServiceError, OSError, and ValueError or TypeError as `read_image` does.
        """
        how = {} if model is None else {"params": {"model": model}}
        facts = self._connection.json(
            "POST", "/v1/images", content=_file_of(image), headers=OCTETS, **how
        )
        return RemoteImage(self._connection, facts)

    def image_of(self, image_id: str) -> RemoteImage:
        """An image that was sent before. Raises ServiceError where it is gone."""
        return RemoteImage(self._connection, self._connection.json("GET", f"/v1/images/{image_id}"))

    def session(
        self,
        video: str | os.PathLike[str] | bytes,
        *,
        model: str | None = None,
        image_side: int | None = None,
    ) -> RemoteSession:
        """Sends a video and opens a session.

        video : a file's path, or its bytes
        model, image_side : as the service allows; None: its default

        Raises ServiceError (of the kind "too_many_sessions" where all are taken), OSError.
        """
        content = video if isinstance(video, bytes) else Path(video).read_bytes()
        given = {"model": model, "image_side": image_side}
        facts = self._connection.json(
            "POST",
            "/v1/sessions",
            content=content,
            headers=OCTETS,
            params={name: value for name, value in given.items() if value is not None},
        )
        return RemoteSession(self._connection, facts)

    def session_at(
        self, path: str, *, model: str | None = None, image_side: int | None = None
    ) -> RemoteSession:
        """Opens a session of a video that the service has: a path below its media root. Raises
        ServiceError."""
        body = {"path": path, "model": model, "image_side": image_side}
        return RemoteSession(
            self._connection, self._connection.json("POST", "/v1/sessions", json=body)
        )

    def session_of(self, session_id: str) -> RemoteSession:
        """A session that is open. Raises ServiceError where it is gone."""
        return RemoteSession(
            self._connection, self._connection.json("GET", f"/v1/sessions/{session_id}")
        )

    def job(self, job_id: str) -> Job:
        """A job by its id."""
        return Job(self._connection, job_id)

    def models(self) -> list[JsonObject]:
        """The models of the service. Raises ServiceError."""
        models: list[JsonObject] = self._connection.json("GET", "/v1/models")["models"]
        return models

    def ready(self) -> bool:
        """Whether the service takes work."""
        return self._connection.status_of("/v1/ready") == 200


def _file_of(image: ImageLike) -> bytes:
    """The bytes of an image's file; arrays and PIL images become a PNG."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return Path(image).read_bytes()
    from PIL import Image

    from segrid._image import read_image  # loads the engine

    file = io.BytesIO()
    Image.fromarray(read_image(image)).save(file, "PNG", compress_level=1)
    return file.getvalue()
