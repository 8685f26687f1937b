"""The settings of the video service, by the environment variables that it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segrid._types import Options

HUB = {
    "tiny": "facebook/sam2.1-hiera-tiny",
    "small": "facebook/sam2.1-hiera-small",
    "base_plus": "facebook/sam2.1-hiera-base-plus",
    "large": "facebook/sam2.1-hiera-large",
}


@dataclass(frozen=True)
class VideoServiceSettings:
    """What the video service does where nothing else is said; the defaults are its own.

    model : None: the first of the server's trackers
    precision : None: the server's
    device : None: the server's
    threads : None: all of the server's
    options : of a session (see `segrid.video.session.Session`)
    """

    session_timeout: float = 300.0
    max_sessions: int = 2
    max_frames: int = 300
    max_dimension: int = 1920
    model: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: int | None = None
    options: Options = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> VideoServiceSettings:
        """The settings that these variables give:

        SESSION_TIMEOUT : seconds without a call after which a session is closed (300)
        MAX_CONCURRENT_SESSIONS : (2)
        MAX_VIDEO_FRAMES : later frames are left out (300)
        MAX_FRAME_DIMENSION : the longest side, in pixels; larger videos are reduced (1920)
        SAM2_MODEL_SIZE : tiny, small, base_plus or large
        MODEL_DIR : a folder in which folders of models named by SAM2_MODEL_SIZE are looked for
            before the Hugging Face Hub is
        SAM2_DEVICE : auto, cpu or cuda
        SAM2_QUANTIZE : true is int8, false is fp32
        SAM2_MEMORY_BANK_SIZE : frames that are looked back at
        SAM2_MAX_MEM_FRAMES : frames that are looked back at for object pointers
        SAM2_DISABLE_POSTPROC : true leaves small holes in masks
        OMP_NUM_THREADS, TORCH_NUM_THREADS : the most threads of a call; the smaller number holds

        Raises ValueError naming the variable.
        """
        read = _Variables(os.environ if environment is None else environment)
        options: Options = {}
        if (frames := read.whole("SAM2_MEMORY_BANK_SIZE")) is not None:
            options["memory_frames"] = frames
        if (pointers := read.whole("SAM2_MAX_MEM_FRAMES")) is not None:
            options["pointers"] = pointers
        if read.switch("SAM2_DISABLE_POSTPROC"):
            options["max_hole_area"] = 0
        given = {
            "session_timeout": read.whole("SESSION_TIMEOUT"),
            "max_sessions": read.whole("MAX_CONCURRENT_SESSIONS"),
            "max_frames": read.whole("MAX_VIDEO_FRAMES"),
            "max_dimension": read.whole("MAX_FRAME_DIMENSION"),
            "model": read.model(),
            "precision": {None: None, True: "int8", False: "fp32"}[read.switch("SAM2_QUANTIZE")],
            "device": read.word("SAM2_DEVICE", ("auto", "cpu", "cuda")),
            "threads": min(
                filter(None, map(read.threads, ("OMP_NUM_THREADS", "TORCH_NUM_THREADS"))),
                default=None,
            ),
        }
        return cls(
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
            options=options,
        )


class _Variables:
    """Reads variables; an empty one counts as absent."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def _text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def whole(self, name: str) -> int | None:
        text = self._text(name)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ValueError(f"{name}: expected a whole number from 1, got {text!r}")
        return int(text)

    def threads(self, name: str) -> int | None:
        """A number of threads; what OpenMP reads besides ("4,2") says nothing here."""
        text = self._text(name) or ""
        return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None

    def switch(self, name: str) -> bool | None:
        text = self.word(name, ("true", "false", "1", "0"))
        return None if text is None else text in ("true", "1")

    def word(self, name: str, words: tuple[str, ...]) -> str | None:
        text = self._text(name)
        if text is None:
            return None
        if text.lower() not in words:
            raise ValueError(f"{name}: expected {', '.join(words)}; got {text!r}")
        return text.lower()

    def model(self) -> str | None:
        size = self.word("SAM2_MODEL_SIZE", tuple(HUB))
        if size is None:
            return None
        folder = self._text("MODEL_DIR")
        if folder is not None:
            for name in (size, HUB[size].removeprefix("facebook/")):
                if (Path(folder) / name / "config.json").is_file():
                    return str(Path(folder) / name)
        return HUB[size]
