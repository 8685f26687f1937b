"""The service: images and video sessions over HTTP (docs/serve.md). Needs segrid[serve]."""

from __future__ import annotations

from segrid.serve.app import create_app
from segrid.serve.settings import Settings

__all__ = ["Settings", "create_app"]
