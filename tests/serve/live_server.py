"""A server as a process of its own, perhaps with a share of a CPU."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2

STARTED = 180  # seconds within which a server must answer

# It stops in good order on SIGTERM, as `segrid serve` does.
PROGRAM = """
import json, sys, uvicorn
from segrid.serve import Settings, create_app
settings, port = json.loads(sys.argv[1]), int(sys.argv[2])
settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
uvicorn.run(create_app(Settings(**settings)), port=port, log_level="warning")
"""


@contextmanager
def live_server(settings, *, group=None, cpus=None, **environment):
    """Starts a server with these fields of Settings. Yields a client whose base URL is its address.

    group : a folder of a control group that the process joins
    cpus : the numbers of the CPUs that it may use
    """
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, json.dumps(settings), str(port)]
    if cpus is not None:
        command = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    if group is not None:
        join = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", join, "sh", *command]
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            _wait(process, client)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()


def free_port():
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(process, client):
    end = time.monotonic() + STARTED
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            if client.get("/v1/ready").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"the server has not answered within {STARTED} s")


@contextmanager
def cpu_quota(share):
    """A control group whose processes get this share of one CPU. Yields its folder, or None where
    this process may not make one."""
    name, period = f"segrid-test-{os.getpid()}", 100_000
    first = Path("/sys/fs/cgroup/cpu" if Path("/sys/fs/cgroup/cpu").is_dir() else "/sys/fs/cgroup")
    group = first / name
    try:
        group.mkdir()
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_quota_us").write_text(str(int(share * period)))
        else:
            (group / "cpu.max").write_text(f"{int(share * period)} {period}")
    except OSError:
        if group.is_dir():
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        for _ in range(100):  # its last process may still end
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def throttled(group):
    """How often the group had to wait for its share."""
    lines = (group / "cpu.stat").read_text().split("\n")
    return int(next(line for line in lines if line.startswith("nr_throttled")).split()[1])


def has_taskset():
    return shutil.which("taskset") is not None
