"""The events of a job as text of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from segrid._types import JsonObject
from segrid.serve.jobs import Event, Job
from segrid.serve.mask_formats import mask_json

SILENCE = 15.0  # seconds after which a comment shows that the connection is alive


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


async def event_stream(job: Job, after: int) -> AsyncIterator[str]:
    """The events after a number as text, to the end of the job."""
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
