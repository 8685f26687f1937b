"""Loads the images that transformers' load_image takes: paths, URLs, base64 text and PIL images."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

MAX_BYTES = 256 << 20  # the most that is downloaded


def load(image: Any, timeout: float | None = None) -> Any:
    """Returns the bytes at a URL or of base64 text, and everything else unchanged.

    timeout : seconds to wait for the server

    Raises ValueError, as transformers does, for text that is none of these and for a file above
    MAX_BYTES; URLError for network errors."""
    if not isinstance(image, str) or os.path.isfile(image):
        return image
    if image.startswith(("http://", "https://")):
        from urllib.request import urlopen

        with urlopen(image, timeout=timeout) as answer:
            data = answer.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"{image}: more than {MAX_BYTES} bytes (MAX_BYTES)")
        return data
    text = image.split(",", 1)[-1] if image.startswith("data:image/") else image
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "Incorrect image source. Must be a valid URL starting with `http://` or `https://`, a "
            f"valid path to an image file, or a base64 encoded string. Got {image[:200]}"
        ) from None
