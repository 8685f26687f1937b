"""The settings of the service: each with its name, default, meaning and environment variable."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

PREFIX = "SEGRID_SERVE_"
MIB = 1 << 20
HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?", re.ASCII)  # the name, the port
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+", re.ASCII)
DEFAULT_PORT = re.compile(r"(?<=^http)(://.+):80$|(?<=^https)(://.+):443$")
Value = Any  # of a setting: str, int, float, bool or a tuple of them


def _setting(default: Value, meaning: str) -> Value:
    """A field whose meaning is shown by the command line, by errors and in the documentation."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """What the service does and the limits that it keeps. `docs/serve.md` has the table.

    Errors that a limit causes name the setting. Raises ValueError naming a setting that is out of
    range.
    """

    # models
    segmenters: tuple[str, ...] = _setting(
        ("tiny",),
        "Models for images, NAME or NAME=MODEL, as `segrid.Segmenter` takes MODEL. The first "
        "one is the default.",
    )
    detectors: tuple[str, ...] = _setting(
        ("tiny-detector",), "Models that find what words name, NAME or NAME=MODEL."
    )
    trackers: tuple[str, ...] = _setting(
        ("tiny-video",),
        "Models that follow objects through video, NAME or NAME=MODEL; none: no video sessions.",
    )
    image_sides: tuple[int, ...] = _setting(
        (), "Sides of a tracker's square that a session may ask for, besides the model's own."
    )
    device: str = _setting("auto", "Device of all models.")
    precision: str = _setting("auto", "Precision of all models.")
    # who may call
    token: str = _setting("", "Callers must send it as Authorization: Bearer; empty: nobody must.")
    hosts: tuple[str, ...] = _setting(
        (), "Names by which callers may address the service (the header Host); empty: any."
    )
    proxies: tuple[str, ...] = _setting(
        (), "Addresses of proxies whose X-Forwarded-For is believed; empty: none."
    )
    cors: tuple[str, ...] = _setting((), "Origins whose pages may call the service; empty: none.")
    # files
    media_root: str = _setting(
        "", "Folder from which callers may name videos by path; empty: no paths are accepted."
    )
    state_dir: str = _setting(
        "", "Folder for the state of sessions; empty: a new temporary folder, removed at the end."
    )
    restore: bool = _setting(
        False, "Keep sessions in state_dir over a restart, and take them up at the start."
    )
    # images
    image_bytes: int = _setting(64 * MIB, "Largest upload of an image, bytes.")
    image_pixels: int = _setting(50_000_000, "Largest image, pixels.")
    images_bytes: int = _setting(
        512 * MIB, "Memory for encoded images; those not used for longest go first, bytes."
    )
    scenes: int = _setting(8, "Images that stay encoded for detectors.")
    everything_points: int = _setting(64, "Largest points_per_side of a request.")
    everything_crop_layers: int = _setting(2, "Largest crop_n_layers of a request.")
    # sessions
    max_sessions: int = _setting(8, "Sessions that are open at once.")
    session_timeout: float = _setting(
        900.0, "Time without a call after which a session is closed, seconds."
    )
    video_bytes: int = _setting(512 * MIB, "Largest upload of a video or a snapshot, bytes.")
    video_frames: int = _setting(10_000, "Most frames of a video that are followed.")
    video_pixels: int = _setting(8_294_400, "Largest frame of a video, pixels (4K).")
    video_long_side: int = _setting(
        1024, "Frames are reduced to this long side before they are encoded, pixels."
    )
    max_objects: int = _setting(32, "Most objects of a session.")
    max_prompts: int = _setting(
        512, "Most prompted frames of a session, counted once for each object that is prompted."
    )
    # jobs
    running_jobs: int = _setting(2, "Jobs that run at once; the others are pending.")
    pending_jobs: int = _setting(32, "Jobs that may be pending.")
    kept_jobs: int = _setting(256, "Finished jobs that can still be asked for.")
    jobs_bytes: int = _setting(
        256 * MIB, "Memory for the masks of finished jobs; the oldest jobs go first, bytes."
    )
    job_timeout: float = _setting(600.0, "Time for which a finished job is kept, seconds.")
    # other servers
    compat: tuple[str, ...] = _setting(
        ("video", "grid"),
        "Other servers that are imitated, below /compat/NAME: video, grid.",
    )
    # load
    compute_slots: int = _setting(2, "Requests that compute at once.")
    queue: int = _setting(64, "Requests that may wait for a slot.")
    queue_per_client: int = _setting(
        16, "Requests of one client, and calls of one session, that may wait."
    )
    queue_seconds: float = _setting(60.0, "Longest wait for a slot, seconds.")
    json_bytes: int = _setting(4 * MIB, "Largest JSON body, bytes.")
    bodies_in_memory: int = _setting(64 * MIB, "All JSON bodies together, bytes.")
    uploads_on_disk: int = _setting(4096 * MIB, "All uploads under way together, bytes.")
    body_pause: float = _setting(15.0, "Longest pause inside a body, seconds.")
    body_seconds: float = _setting(900.0, "Longest time for a whole body, seconds.")
    header_seconds: float = _setting(10.0, "Longest time for the headers of a request, seconds.")
    send_pause: float = _setting(
        60.0, "Longest time for a client to take a piece of its answer, seconds."
    )
    connections: int = _setting(256, "Connections at once.")
    streams: int = _setting(64, "Event streams and WebSockets at once.")
    # process
    grace: float = _setting(
        20.0, "Time to finish requests and jobs after SIGTERM, seconds; then they are cancelled."
    )
    log_json: bool = _setting(False, "Write logs as JSON, a line for each record.")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            # bool is an int, too, and has no range
            if type(value) in (int, float) and not 0 < value < math.inf:
                raise ValueError(f"{each.name}: must be a finite number above 0, got {value}")
        unknown = sorted(set(self.compat) - {"video", "grid"})
        if unknown:
            raise ValueError(f"compat: there are video and grid, got {unknown[0]!r}")
        if self.restore and not self.state_dir:
            raise ValueError("restore: needs state_dir, the folder where sessions are kept")
        token = self.token
        if not (token.isascii() and token.isprintable() and token == token.strip()):
            raise ValueError(
                "token: a header cannot hold it; use ASCII letters, digits and signs, without a "
                "space or the end of a line before or after them"
            )
        object.__setattr__(self, "hosts", tuple(map(_host, self.hosts)))  # the class is frozen
        object.__setattr__(self, "cors", tuple(_origin(each, token) for each in self.cors))

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **given: Value
    ) -> Settings:
        """The settings of the environment variables SEGRID_SERVE_<NAME>, and what is given, which
        wins. Lists are separated by commas, switches are 1 or 0.

        Raises ValueError naming a variable whose value does not fit, or that means no setting.
        """
        environment = os.environ if environment is None else environment
        known = {PREFIX + each.name.upper(): each for each in fields(cls)}
        unknown = sorted(
            name for name in environment if name.startswith(PREFIX) and name not in known
        )
        if unknown:
            raise ValueError(f"{unknown[0]}: there is no such setting")
        found = {
            each.name: parsed(each, environment[name])
            for name, each in known.items()
            if name in environment
        }
        return cls(**{**found, **given})


def parsed(setting: Field[Value], text: str) -> Value:
    """The value of a setting that a text gives. Raises ValueError naming the setting."""
    default = setting.default
    if isinstance(default, tuple):
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        if setting.name != "image_sides":
            return parts
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"{setting.name}: expected whole numbers, got {text!r}")
        return tuple(map(int, parts))
    if isinstance(default, bool):
        if text.lower() not in ("0", "1", "false", "true"):
            raise ValueError(f"{setting.name}: expected 0 or 1, got {text!r}")
        return text.lower() in ("1", "true")
    if isinstance(default, (int, float)):
        try:
            return type(default)(text)
        except ValueError:
            raise ValueError(f"{setting.name}: expected a number, got {text!r}") from None
    return text


def host_name(host: str) -> str:
    """The name in a header Host, without the port and in small letters; "" where it has none."""
    found = HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""


def _host(text: str) -> str:
    """A name of the setting `hosts`, as requests are compared with it. Raises ValueError."""
    name = host_name(text) or host_name(f"[{text}]")  # IPv6 also without brackets
    if not name:
        raise ValueError(
            f"hosts: expected a name or an address, such as example.org or 127.0.0.1, got {text!r}"
        )
    return name


def _origin(text: str, token: str) -> str:
    """An origin of the setting `cors`, as browsers send it. Raises ValueError."""
    origin = DEFAULT_PORT.sub(r"\1\2", text.lower().removesuffix("/"))
    if origin == "*" and not token:
        raise ValueError("cors: * needs a token; without one, name the origins that may call")
    if origin not in ("*", "null") and not ORIGIN.fullmatch(origin):
        raise ValueError(f"cors: expected an origin such as http://localhost:3000, got {text!r}")
    return origin


def setting_named(name: str) -> Field[Value]:
    """The setting of a name. Raises ValueError where there is none."""
    for each in fields(Settings):
        if each.name == name:
            return each
    raise ValueError(f"{name}: there is no such setting")
