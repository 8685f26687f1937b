"""Requests to the service: errors become exceptions, and a busy server is asked again."""

from __future__ import annotations

import itertools
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
    """An error that the service answered with, or what is no answer of the service.

    Attributes
    ----------
    status : int, of HTTP
    kind : str, a word for programs, such as "not_found" or "busy"; "unexpected_answer" where
        something else answered, such as a proxy that asks to log in
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

    timeout : for the server to begin an answer, seconds; also the longest Retry-After that is
        waited for
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
        self._timeout, self._retries = timeout, retries

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def json(self, method: str, address: str, **how: Any) -> JsonObject:
        """The answer of a request, which is JSON. Raises ServiceError, httpx2.HTTPError."""
        answer = self.send(method, address, **how)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise _unexpected(answer)
        return found

    def send(self, method: str, address: str, **how: Any) -> httpx2.Response:
        """The answer of a request. Raises ServiceError, httpx2.HTTPError.

        how : as httpx2 takes it; content is bytes, so that it can be sent again; json may hold
            NumPy's numbers and arrays
        """
        if "json" in how:
            text = json.dumps(how.pop("json"), default=_plain, allow_nan=False)
            how |= {"content": text.encode(), "headers": {"Content-Type": "application/json"}}
        for failures in itertools.count():
            answer = self._http.request(method, address, **how)
            if _is_success(answer):
                return answer
            self._wait(error_of(answer), failures)
        raise AssertionError("unreachable")

    def _wait(self, error: ServiceError, failures: int) -> None:
        """Waits as long as a busy server asks. Raises the error where it says nothing of that kind,
        asks for more than the time-out, or was busy too often."""
        after = error.retry_after
        may_repeat = error.status in (429, 503) and error.kind not in NOT_REPEATED
        if after is None or after > self._timeout or not may_repeat or failures >= self._retries:
            raise error
        time.sleep(after)

    def status_of(self, address: str) -> int:
        """The status with which an address answers, asked once. Raises httpx2.HTTPError."""
        return self._http.get(address).status_code

    def events(self, job: str, after: int) -> Iterator[tuple[int, str, JsonObject]]:
        """The events of a job after a number: number, kind, data. A stream that is lost, or closed
        before the job is over, is taken up where it was. Raises ServiceError, and httpx2.HTTPError
        when that fails `retries` times.

        job : its address
        """
        failures, is_over = 0, False
        while True:
            begin = after
            try:
                for number, kind, data in self._one_stream(f"{job}/events", after):
                    after, failures = number, 0
                    yield number, kind, data
                    if kind == "end":
                        return
                if is_over and after == begin:
                    return  # all its events had been read before
                is_over = self.json("GET", job)["status"] not in ("pending", "running")
                if not is_over:
                    raise httpx2.RemoteProtocolError("the stream of events ended before the job")
            except ServiceError as error:
                self._wait(error, failures)
                failures += 1
            except httpx2.TransportError:
                failures += 1
                if failures > self._retries:
                    raise
                time.sleep(min(0.1 * 2**failures, 5.0))

    def _one_stream(self, address: str, after: int) -> Iterator[tuple[int, str, JsonObject]]:
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        with self._http.stream("GET", address, headers=headers) as answer:
            if not _is_success(answer):
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


def _is_success(answer: httpx2.Response) -> bool:
    """Whether a request succeeded. The API answers with no page: that is a proxy's."""
    return answer.is_success and "text/html" not in answer.headers.get("content-type", "")


def _unexpected(answer: httpx2.Response) -> ServiceError:
    """The exception of an answer that is not the service's."""
    kind = answer.headers.get("content-type", "no content type")
    to = (
        f" and a redirection to {answer.headers['location']}"
        if answer.has_redirect_location
        else ""
    )
    text = (
        f"{answer.url}: expected an answer of segrid, got status {answer.status_code}, {kind}{to}. "
        "Check the address of the service, and whether a proxy asks to log in"
    )
    return ServiceError(answer.status_code, {"kind": "unexpected_answer", "message": text}, None)


def error_of(answer: httpx2.Response) -> ServiceError:
    """The exception of an answer."""
    if answer.status_code < 400:
        return _unexpected(answer)
    try:
        facts = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        facts = None
    if not isinstance(facts, dict):  # a proxy in between answers in a form of its own
        facts = {"message": answer.text[:200]}
    after = answer.headers.get("retry-after", "")
    return ServiceError(answer.status_code, facts, float(after) if after.isdecimal() else None)
