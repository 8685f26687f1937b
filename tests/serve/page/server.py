"""A server that runs in a thread of the tests."""

import contextlib
import threading
import time

import uvicorn
from segrid.serve import create_app

MOST_SESSIONS = 3  # of the server that most tests use


@contextlib.contextmanager
def serving(settings):
    """The address of a server that runs in a thread."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end, "the server did not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
