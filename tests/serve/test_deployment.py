"""The container's files (no container is built here): what they copy, run, limit and check."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from segrid._native import _core
from segrid.cli.serve import serve
from segrid.serve import Settings

from tests.serve.live_server import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"


def instructions():
    """[(instruction, arguments)] of the Dockerfile, with continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().split("\n") if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").split("\n")
    return [tuple(line.split(maxsplit=1)) for line in joined if line.strip()]


@pytest.fixture(scope="module")
def stages():
    """The instructions of the two stages."""
    found = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def service():
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["segrid"]


def test_what_is_copied_is_there(stages):
    """What the build copies exists, and .dockerignore lets it through."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored
    copied = 0
    for name, arguments in stages[0]:
        if name == "COPY":
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
                copied += 1
    assert copied >= 6
    needs = re.search(r"FROM .* AS build", DOCKERFILE.read_text())
    assert needs and all("--from=build" in a for n, a in stages[1] if n == "COPY")


def test_system_packages_are_those_of_the_engine(stages):
    """What the engine links, by the names of Debian's packages; the build stage has the packages
    of scripts/system_packages.sh that it needs."""
    script = (ROOT / "scripts/system_packages.sh").read_text()
    listed = re.search(r'packages="([^"$]*)', script)[1].split()
    built = next(a for n, a in stages[0] if n == "RUN" and "apt-get" in a).split()
    for package in ("g++", "cmake", "ninja-build", *(p for p in listed if p.startswith("lib"))):
        assert package in built or package == "libgtest-dev", package
    run = next(a for n, a in stages[1] if n == "RUN" and "apt-get" in a)
    needed = subprocess.run(
        ["readelf", "-d", _core.__file__], capture_output=True, text=True
    ).stdout
    libraries = re.findall(r"\[lib(opencv_\w+|jpeg|png16)\.so", needed)
    assert len(libraries) >= 5
    for library in libraries:
        assert f"lib{library.replace('_', '-')}" in run, library


def test_torch_is_the_version_of_the_makefile(stages):
    pinned = re.search(r"^TORCH := torch==(\S+)", (ROOT / "Makefile").read_text(), re.M)[1]
    assert ("ARG", f"TORCH={pinned}") in stages[0]
    torch = next(a for n, a in stages[0] if n == "RUN" and "torch==" in a)
    assert "whl/${DEVICE}" in torch and ("ARG", "DEVICE=cpu") in stages[0]


def test_no_root_and_a_read_only_root(stages, service):
    names = [n for n, _ in stages[1]]
    user = dict(stages[1])["USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert user == service["user"] and service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # what is written lies in a volume or in memory
    written = dict(re.findall(r"(\w+)=(/\S+)", dict(stages[1])["ENV"]))
    places = [v.partition(":")[2].partition(":")[0] for v in service["volumes"]]
    for name in ("HF_HOME", "SEGRID_SERVE_STATE_DIR", "TMPDIR"):  # an upload may exceed the tmpfs
        assert any(written[name].startswith(place) for place in places), name
    made = next(a for n, a in stages[1] if n == "RUN" and "install -d" in a).split()
    assert written["TMPDIR"] in made, "Python takes /tmp where it is missing"
    assert [t.partition(":")[0] for t in service["tmpfs"]] == ["/tmp"]
    assert "PYTHONDONTWRITEBYTECODE=1" in dict(stages[1])["ENV"]


def test_limits_token_and_port(stages, service):
    assert (service["cpus"], service["mem_limit"], service["memswap_limit"]) == (2, "2g", "2g")
    assert service["pids_limit"] <= 512
    assert service["environment"]["SEGRID_SERVE_TOKEN"].startswith("${SEGRID_SERVE_TOKEN:?")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    port = dict(stages[1])["EXPOSE"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    variables = {name: "x" for name in service["environment"]} | {
        name: value for name, value in service["environment"].items() if value.isdigit()
    }
    settings = Settings.from_environment(variables)  # raises for a name that is no setting
    assert settings.token == "x" and settings.max_sessions == 4
    stop = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    assert int(stop[1]) > settings.grace


def command(stages):
    """The words of ENTRYPOINT and CMD."""
    found = dict(stages[1])
    return [*yaml.safe_load(found["ENTRYPOINT"]), *yaml.safe_load(found["CMD"])]


def test_the_command_and_the_health_check_work(stages, tmp_path):
    """The command of the container, on another port and address, is healthy by the container's own
    check, which fails where nothing answers; it ends in good order on SIGTERM."""
    words, port = command(stages), free_port()
    assert words[:2] == ["segrid", "serve"]
    assert "--host" in words and words[words.index("--host") + 1] == "0.0.0.0"
    options = set(serve.__annotations__)
    for word in words[2:]:
        assert not word.startswith("--") or word[2:].replace("-", "_") in options, word
    words[words.index("--host") + 1] = "127.0.0.1"
    exposed = words[words.index("--port") + 1]
    words[words.index("--port") + 1] = str(port)
    check = dict(stages[1])["HEALTHCHECK"]
    assert f":{exposed}/" in check
    health = yaml.safe_load(check[check.index("CMD ") + 4 :].replace(f":{exposed}/", f":{port}/"))
    health[0] = sys.executable
    environment = os.environ | {
        "SEGRID_SERVE_TOKEN": "x",
        "SEGRID_SERVE_DETECTORS": "",
        "SEGRID_SERVE_STATE_DIR": str(tmp_path / "sessions"),
    }
    assert subprocess.run(health, capture_output=True).returncode != 0
    process = subprocess.Popen(
        [sys.executable, "-m", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 180
        while subprocess.run(health, capture_output=True).returncode:
            assert process.poll() is None and time.monotonic() < deadline, shlex.join(words)
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        assert log.strip() and all(line.startswith("{") for line in log.strip().split("\n")), log
    finally:
        process.kill()
        process.wait()
