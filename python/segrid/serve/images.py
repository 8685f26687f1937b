"""Encoded images by their content: equal images share one encoding."""

from __future__ import annotations

import asyncio
import hmac
import io
import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from segrid import Embedding, Segmenter
from segrid.serve.errors import engine_errors, not_found, too_large
from segrid.serve.settings import Settings

Scene = Any  # what `Detector.encode` gives
BLOCK = 1 << 20  # bytes of a file that are hashed at a time


@dataclass
class EncodedImage:
    """An image that is encoded, with its file, from which pictures and crops are made."""

    image_id: str
    model: str
    content: bytes
    embedding: Embedding
    bytes: int
    holders: int = 0  # uploads less deletions

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return self.embedding.image_size


class Images:
    """The encoded images. The id is a keyed hash of model and content: it cannot be guessed, and
    whoever sends the same image gets the same one. Those that were not used for longest are dropped
    where memory runs out (`images_bytes`)."""

    def __init__(self, settings: Settings, secret: bytes | None = None) -> None:
        self._settings = settings
        self._secret = secret or secrets.token_bytes(32)
        self._images: OrderedDict[str, EncodedImage] = OrderedDict()
        self._encoding: dict[str, asyncio.Event] = {}
        self._scenes: OrderedDict[tuple[str, str], Scene] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def id_of(self, model: str, file: BinaryIO) -> str:
        """The id of an image in a file: 128 bits of HMAC-SHA256."""
        digest = hmac.new(self._secret, model.encode() + b"\0", "sha256")
        file.seek(0)
        while block := file.read(BLOCK):
            digest.update(block)
        return digest.hexdigest()[:32]

    async def put(
        self,
        image_id: str,
        model: str,
        encode: Callable[[], Awaitable[tuple[bytes, Embedding]]],
    ) -> EncodedImage:
        """The image of an id, which `encode` reads and encodes unless that is done or under way."""
        while (found := self._get(image_id)) is None:
            if (other := self._encoding.get(image_id)) is not None:
                await other.wait()
                continue
            done = self._encoding[image_id] = asyncio.Event()
            try:
                found = self._keep(image_id, model, *await encode())
                break
            finally:
                del self._encoding[image_id]
                done.set()
        found.holders += 1
        return found

    def get(self, image_id: str) -> EncodedImage:
        """The image of an id. Raises ServiceError where there is none."""
        if (found := self._get(image_id)) is None:
            raise not_found()
        return found

    def _get(self, image_id: str) -> EncodedImage | None:
        with self._lock:
            found = self._images.get(image_id)
            if found is not None:
                self._images.move_to_end(image_id)
            return found

    def _keep(
        self, image_id: str, model: str, content: bytes, embedding: Embedding
    ) -> EncodedImage:
        held = len(content) + embedding.nbytes
        found = EncodedImage(image_id, model, content, embedding, held)
        with self._lock:
            self._images[image_id] = found
            self.bytes += held
            while self.bytes > self._settings.images_bytes and len(self._images) > 1:
                self._drop(next(iter(self._images)))
        return found

    def delete(self, image_id: str) -> None:
        """Takes back one upload; the image is dropped when all who sent it have done so."""
        found = self.get(image_id)
        found.holders -= 1
        with self._lock:
            if found.holders <= 0 and image_id in self._images:
                self._drop(image_id)

    def ids(self) -> list[str]:
        """The ids of all images."""
        with self._lock:
            return list(self._images)

    def forget(self, image_id: str) -> None:
        """Drops an image, whoever holds it."""
        with self._lock:
            if image_id in self._images:
                self._drop(image_id)

    def _drop(self, image_id: str) -> None:
        self.bytes -= self._images.pop(image_id).bytes
        for key in [key for key in self._scenes if key[1] == image_id]:
            del self._scenes[key]

    def scene(self, detector: str, image: EncodedImage, encode: Callable[[bytes], Scene]) -> Scene:
        """The image as a detector encodes it; the last `scenes` ones are kept."""
        key = (detector, image.image_id)
        with self._lock:
            found = self._scenes.get(key)
        if found is None:
            found = encode(image.content)
        with self._lock:
            if image.image_id in self._images:
                self._scenes[key] = found
                self._scenes.move_to_end(key)
            while len(self._scenes) > self._settings.scenes:
                self._scenes.popitem(last=False)
        return found


def encode_file(model: Segmenter, file: BinaryIO, settings: Settings) -> tuple[bytes, Embedding]:
    """The content of an image's file, and what it is encoded to. Raises ServiceError for what is no
    image, or too large."""
    file.seek(0)
    content = file.read()
    with engine_errors():
        pixels = declared_pixels(content)
        _check_pixels(pixels or 0, settings.image_pixels)
        embedding = model.encode(content)
        # Pillow does not know every TIFF, and a TIFF's first page is not always its picture.
        _check_pixels(math.prod(embedding.image_size), settings.image_pixels)
        return content, embedding


def _check_pixels(pixels: int, most: int) -> None:
    if pixels > most:
        raise too_large(
            f"the image has {pixels} pixels; the limit is {most} (image_pixels). Send a smaller "
            "one",
            "image_pixels",
        )


def declared_pixels(content: bytes) -> int | None:
    """The number of pixels that the header of an image claims; None where Pillow cannot tell, and
    then the engine's own limit holds."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as file:
            return file.width * file.height
    except Image.DecompressionBombError:
        return 2 * (Image.MAX_IMAGE_PIXELS or 0)  # more than that
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
