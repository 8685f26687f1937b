"""The application inside an actor of a cluster, asked without one."""

import asyncio
from dataclasses import replace

import segrid
from segrid.serve.in_actor import AppInActor, Call


def test_pages_of_named_origins_may_call_a_cluster(settings, monkeypatch):
    """As in one process, where `cors` names them."""
    monkeypatch.setattr(segrid, "set_threads", lambda threads: None)  # of this process
    named = replace(settings, cors=("http://page",), token="secret", trackers=(), compat=())
    body = b'{"points": [[1, 1]]}'

    async def answer(origin):
        headers = [(b"origin", origin), (b"content-type", b"application/json")]
        inside = AppInActor(named, b"x", 1)
        call = Call("POST", "/v1/images/x/predict", headers=headers, body=body)
        return [piece async for piece in inside.answer(call)][0]

    allowed, other = (asyncio.run(answer(o)) for o in (b"http://page", b"http://other"))
    assert allowed.status == 404 and (b"access-control-allow-origin", b"http://page") in [
        (name.lower(), value) for name, value in allowed.headers
    ]
    assert other.status == 403
