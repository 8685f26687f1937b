"""Load on an HTTP service from this process, and what the service's process uses meanwhile."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

STARTED = 300  # seconds within which a service must answer


class Connection:
    """JSON calls over one connection that stays open as long as the server keeps it."""

    def __init__(self, port):
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
        self._connect()

    def _connect(self):
        self._http.close()
        self._http.connect()
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, method, path, body=None, content=None, kind="application/octet-stream"):
        """The answer's JSON. body: JSON; content: octets. Raises RuntimeError for statuses from
        400 on."""
        status, octets = self.octets(method, path, body, content, kind)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {octets[:500]!r}")
        return json.loads(octets) if octets else None

    def octets(self, method, path, body=None, content=None, kind="application/octet-stream"):
        """The status and the octets of the answer."""
        headers = {}
        if body is not None:
            content, kind = json.dumps(body).encode(), "application/json"
        if content is not None:
            headers["Content-Type"] = kind
        try:
            self._http.request(method, path, content, headers)
            answer = self._http.getresponse()
        except ConnectionError:  # servers close connections that were idle; clients connect again
            self._connect()
            self._http.request(method, path, content, headers)
            answer = self._http.getresponse()
        return answer.status, answer.read()

    def close(self):
        self._http.close()


@contextlib.contextmanager
def running(command, ready, threads):
    """A service as a process of its own, from its first answer to GET `ready` on. Yields its
    process number.

    command : words, without the interpreter
    ready : (port, path)
    """
    root = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "SEGRID_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    log = tempfile.TemporaryFile()
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, cwd=root, stdout=log, stderr=log
    )
    try:
        _wait(process, *ready)
        yield process.pid
    except BaseException:
        log.seek(max(0, log.tell() - 4000))
        sys.stderr.write(log.read().decode(errors="replace"))
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait(process, port, path):
    end = time.monotonic() + STARTED
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = Connection(port)
            try:
                if connection.octets("GET", path)[0] == 200:
                    return
            finally:
                connection.close()
        time.sleep(0.2)
    raise TimeoutError(f"the service has not answered within {STARTED} s")


def free_port():
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def repeated(clients, seconds, step):
    """`step(client)` again and again by so many threads at once, for so many seconds. Returns the
    seconds of all calls, in the order of their ends."""
    end, found, errors = time.monotonic() + seconds, [], []

    def client(number):
        try:
            while time.monotonic() < end:
                began = time.perf_counter()
                step(number)
                found.append(time.perf_counter() - began)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return np.array(found)


def percentile(seconds, share):
    """The time within which this share (0 to 100) of the calls ended."""
    return float(np.percentile(seconds, share))


class Memory(threading.Thread):
    """Resident memory of a process, in MB, once a second, until `stop`."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self._pid, self._end = pid, threading.Event()
        self.samples = []

    def run(self):
        while not self._end.wait(1):
            self.samples.append((time.monotonic(), resident_mb(self._pid)))

    def stop(self):
        """Ends it. Returns (MB at the start, MB at the end, MB per minute of the second half)."""
        self._end.set()
        self.join()
        times, sizes = np.array(self.samples).T
        half = len(times) // 2
        slope = np.polyfit(times[half:] - times[half], sizes[half:], 1)[0] * 60
        tenth = max(1, len(sizes) // 10)
        return float(sizes[:tenth].mean()), float(sizes[-tenth:].mean()), float(slope)


def resident_mb(pid):
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    return int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1024
