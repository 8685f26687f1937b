"""A client of the service (`segrid serve`).

>>> from segrid.client import Client
>>> with Client("http://127.0.0.1:8000") as client:
...     image = client.image("photo.jpg")
...     mask = image.predict(points=[[320, 240]])[0].array

Needs the httpx2 package (pip install "segrid[serve]").
"""

from __future__ import annotations

from segrid.client.client import Client
from segrid.client.connection import ServiceError
from segrid.client.images import RemoteImage
from segrid.client.jobs import Job
from segrid.client.masks import Detected, FoundMask, FrameMasks
from segrid.client.sessions import RemoteSession

__all__ = [
    "Client",
    "Detected",
    "FoundMask",
    "FrameMasks",
    "Job",
    "RemoteImage",
    "RemoteSession",
    "ServiceError",
]
