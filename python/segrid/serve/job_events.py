"""The events of a job as server-sent events and as messages of a WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from segrid._types import JsonObject
from segrid.serve.errors import ServiceError
from segrid.serve.jobs import Event, Job
from segrid.serve.mask_formats import MaskRecord, mask_json
from segrid.serve.service import Service

SILENCE = 15.0  # seconds after which a comment shows that the connection is alive
MAGIC = b"SGM1"
HEAD = struct.Struct("<4sIIIII")  # magic, event, frame, height, width, number of objects
OBJECT = struct.Struct("<Ifi4fI")  # object, score, area, box XYXY, bytes of the run lengths


@contextmanager
def counted_stream(service: Service) -> Iterator[None]:
    """A block with an open stream. Raises ServiceError where too many are open."""
    if service.streams >= service.settings.streams:
        raise ServiceError(
            429,
            "too_many_streams",
            f"{service.streams} streams are open, which is the limit (streams)",
            setting="streams",
            retry_after=10,
        )
    service.streams += 1
    try:
        yield
    finally:
        service.streams -= 1


def event_json(event: Event) -> JsonObject:
    """The data of an event."""
    if event.kind != "masks":
        data: JsonObject = event.data
        return data
    frame, masks = event.data
    return {
        "frame": frame,
        "masks": {str(number): mask_json(record, "rle") for number, record in masks.items()},
    }


async def event_stream(service: Service, job: Job, after: int) -> AsyncIterator[str]:
    """The events after a number as text, to the end of the job."""
    with counted_stream(service):
        yield ": events of the job\n\n"
        events = job.events(after)
        following = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=SILENCE)
                if not done:
                    yield ": waiting\n\n"
                    continue
                event = following.result()
                data = json.dumps(event_json(event), allow_nan=False)
                yield f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
                following = asyncio.ensure_future(anext(events))
        except StopAsyncIteration:
            return
        finally:
            following.cancel()


def event_message(event: Event) -> str | bytes:
    """An event as a message of the WebSocket: binary for masks, else {"id", "event", "data"}."""
    if event.kind == "masks":
        frame, masks = event.data
        return masks_message(event.number, frame, masks)
    return json.dumps(
        {"id": event.number, "event": event.kind, "data": event.data}, allow_nan=False
    )


def masks_message(number: int, frame: int, masks: dict[int, MaskRecord]) -> bytes:
    """The masks of a frame, little-endian: `HEAD`, then for each object `OBJECT` and the counts of
    its run lengths in COCO's text."""
    height, width = next((record.rle["size"] for record in masks.values()), (0, 0))
    parts = [HEAD.pack(MAGIC, number, frame, height, width, len(masks))]
    for identity, record in masks.items():
        counts = record.rle["counts"].encode("ascii")
        parts += [
            OBJECT.pack(identity, record.score, record.area, *record.box, len(counts)),
            counts,
        ]
    return b"".join(parts)
