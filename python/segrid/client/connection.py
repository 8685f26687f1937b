"""Requests to the service: errors become exceptions, and a busy server is asked again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np

from segrid._types import JsonObject

# What these wait for is no other request but a user, so that the caller decides.
NOT_REPEATED = ("too_many_sessions",)


class ServiceError(Exception):
    """An error that the service answered with.

    Attributes
    ----------
    status : int, of HTTP
    kind : str, a word for programs, such as "not_found" or "busy"
    setting : the name of the service's setting that caused it, or None
    retry_after : seconds after which to try again, or None
    facts : the error as the service sent it, with the fields that its kind has
    """

    def __init__(self, status: int, facts: JsonObject, retry_after: float | None) -> None:
        super().__init__(facts.get("message", f"the service answered with status {status}"))
        self.status, self.facts, self.retry_after = status, facts, retry_after
        self.kind: str = facts.get("kind", "error")
        self.setting: str | None = facts.get("setting")


class Connection:
    """HTTP with one service. Threads may share it.

    retries : how often a request is sent again that the server was too busy for (429, or 503 with
        Retry-After; not where all sessions are taken), and how often a lost stream is taken up
        again
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        timeout: float,
        retries: int,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(
            base_url=url, headers=headers, timeout=timeout, transport=transport
        )
        self._retries = retries

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def json(self, method: str, address: str, **how: Any) -> JsonObject:
        """The answer of a request, which is JSON. Raises ServiceError, httpx2.HTTPError."""
        answer: JsonObject = self.send(method, address, **how).json()
        return answer

    def send(self, method: str, address: str, **how: Any) -> httpx2.Response:
        """The answer of a request. Raises ServiceError, httpx2.HTTPError.

        how : as httpx2 takes it; content is bytes, so that it can be sent again; json may hold
            NumPy's numbers and arrays
        """
        if "json" in how:
            text = json.dumps(how.pop("json"), default=_plain, allow_nan=False)
            how |= {"content": text.encode(), "headers": {"Content-Type": "application/json"}}
        for left in range(self._retries, -1, -1):
            answer = self._http.request(method, address, **how)
            if answer.status_code < 400:
                return answer
            error = error_of(answer)
            may_repeat = error.retry_after is not None and error.status in (429, 503)
            if not may_repeat or error.kind in NOT_REPEATED or left == 0:
                raise error
            time.sleep(error.retry_after or 0)
        raise AssertionError("unreachable")

    def status_of(self, address: str) -> int:
        """The status with which an address answers, asked once. Raises httpx2.HTTPError."""
        return self._http.get(address).status_code

    def events(self, address: str, after: int) -> Iterator[tuple[int, str, JsonObject]]:
        """The events of a job after a number: number, kind, data. A lost connection is taken up
        where it was. Raises ServiceError, and httpx2.HTTPError when that fails `retries` times."""
        failures = 0
        while True:
            try:
                for number, kind, data in self._one_stream(address, after):
                    after, failures = number, 0
                    yield number, kind, data
                    if kind == "end":
                        return
                return  # the job is over, and all its events were read
            except httpx2.TransportError:
                failures += 1
                if failures > self._retries:
                    raise
                time.sleep(min(0.1 * 2**failures, 5.0))

    def _one_stream(self, address: str, after: int) -> Iterator[tuple[int, str, JsonObject]]:
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        with self._http.stream("GET", address, headers=headers) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise error_of(answer)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif "data" in fields:
                    yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                    fields = {}


def _plain(value: object) -> object:
    """Numbers and lists for NumPy's. Raises TypeError."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be sent; give numbers, texts, lists or "
        "arrays"
    )


def error_of(answer: httpx2.Response) -> ServiceError:
    """The exception of an answer."""
    try:
        facts = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        facts = None
    if not isinstance(facts, dict):  # a proxy in between answers in a form of its own
        facts = {"message": answer.text[:200]}
    after = answer.headers.get("retry-after", "")
    return ServiceError(answer.status_code, facts, float(after) if after.isdigit() else None)
