"""A server in a process of its own."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil


class Live:
    """A running server: url, port, process, and the text of its log."""

    def __init__(self, process, url, log):
        self.process, self.url, self._log = process, url, log
        self.port = int(url.rpartition(":")[2])

    @property
    def log(self):
        return Path(self._log).read_text()

    @property
    def rss(self):
        """Bytes."""
        return psutil.Process(self.process.pid).memory_info().rss

    def end(self, with_signal=signal.SIGTERM, seconds=30):
        """Sends a signal and returns the exit code."""
        self.process.send_signal(with_signal)
        return self.process.wait(seconds)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def live(log, *options, environment=None):
    """A block with a server, which is killed at its end if it still runs."""
    command = [sys.executable, "-m", "segrid", "serve", "--port", "0", *map(str, options)]
    with open(log, "w") as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 120)
        line = process.stdout.readline() if ready else ""
        assert line.startswith("segrid: http://"), line + Path(log).read_text()
        yield Live(process, line.removeprefix("segrid: ").strip(), log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def answer_of(connection, seconds=30):
    """All that comes until the other end closes, or until nothing comes for so long."""
    connection.settimeout(seconds)
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except (TimeoutError, ConnectionError):
        pass
    return found


def is_closed_within(connection, seconds):
    """Whether the other end closes the connection in this time."""
    end = time.monotonic() + seconds
    connection.settimeout(seconds)
    try:
        while time.monotonic() < end:
            if not connection.recv(1 << 16):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False
