"""Who computes next: a bounded queue that takes turns between clients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from segrid.serve.errors import ServiceError
from segrid.serve.settings import Settings

FIRST_GUESS = 1.0  # seconds that a request computes, before any did
WEIGHT = 0.1  # of the last request in the mean of these times


class Admission:
    """`compute_slots` requests compute at once. The others wait in a queue for each client, and the
    clients take turns, so that one that sends many requests delays only itself.

    It is used on the event loop alone.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = settings.compute_slots
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._seconds = FIRST_GUESS

    @property
    def waiting(self) -> int:
        """The requests that wait."""
        return sum(map(len, self._queues.values()))

    @property
    def computing(self) -> int:
        """The requests that compute."""
        return self._settings.compute_slots - self._free

    async def enter(self, client: str) -> None:
        """Waits for a slot; `leave` gives it back.

        Raises ServiceError (429) where too many requests wait, or after `queue_seconds`.
        """
        if self._free > 0:  # then nobody waits
            self._free -= 1
            return
        own = self._queues.get(client, deque())
        if len(own) >= self._settings.queue_per_client:
            raise self._too_many("queue_per_client", self._settings.queue_per_client)
        if self.waiting >= self._settings.queue:
            raise self._too_many("queue", self._settings.queue)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, own).append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._settings.queue_seconds)
        except BaseException as error:
            if turn.done():
                self._pass_on()
            else:
                turn.cancel()
                self._forget(client, turn)
            if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
                raise self._too_many("queue_seconds", self._settings.queue_seconds) from error
            raise

    def leave(self, seconds: float) -> None:
        """Gives a slot back after so many seconds."""
        self._seconds += WEIGHT * (seconds - self._seconds)
        self._pass_on()

    def _pass_on(self) -> None:
        """Gives a free slot to the first request of the client whose turn it is."""
        while self._queues:
            client, own = self._queues.popitem(last=False)
            turn = own.popleft()
            if own:
                self._queues[client] = own  # behind the other clients
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        if (own := self._queues.get(client)) is not None and turn in own:
            own.remove(turn)
            if not own:
                del self._queues[client]

    def _too_many(self, setting: str, limit: float) -> ServiceError:
        wait = self._seconds * (1 + self.waiting / self._settings.compute_slots)
        return ServiceError(
            429,
            "busy_server",
            f"too many requests wait; the limit is {limit:g} ({setting}). Try again later",
            setting=setting,
            retry_after=min(60.0, wait),
        )
