"""The models of the service by their names, each loaded once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from segrid import Detector, Segmenter, Tracker
from segrid._types import JsonObject, Options
from segrid.serve.errors import ServiceError, invalid, not_found
from segrid.serve.settings import Settings

logger = logging.getLogger("segrid.serve")
M = TypeVar("M", Segmenter, Detector, Tracker)


class Models:
    """Segmenters, detectors and trackers by name. Threads share it.

    Raises ValueError where two models of a kind have the same name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where: Options = {"device": settings.device, "precision": settings.precision}
        self.segmenters = _by_name("segmenters", settings.segmenters)
        self.detectors = _by_name("detectors", settings.detectors)
        self.trackers = _by_name("trackers", settings.trackers)
        self._loaded: dict[tuple[str, str, int | None], Any] = {}
        self._lock = threading.RLock()  # a tracker's segmenter loads the tracker

    def load_all(self) -> None:
        """Loads all models. Raises what loading them raises."""
        for name in self.segmenters:
            self.segmenter(name)
        for name in self.detectors:
            self.detector(name)
        for name in self.trackers:
            self.tracker(name)

    def segmenter(self, name: str | None = None) -> Segmenter:
        """The segmenter of a name, or the default one. A tracker's model is a segmenter, too."""
        if name in self.trackers and name not in self.segmenters:
            return self._once("segmenter", name, lambda: self.tracker(name).segmenter)
        name, model = _chosen("model", name, self.segmenters, "segmenters")
        return self._once("segmenter", name, lambda: Segmenter(model, **self._where))

    def detector(self, name: str | None = None) -> Detector:
        """The detector of a name, or the default one."""
        name, model = _chosen("detector", name, self.detectors, "detectors")
        return self._once("detector", name, lambda: Detector(model, **self._where))

    def tracker(self, name: str | None = None, image_side: int | None = None) -> Tracker:
        """The tracker of a name, or the default one, at a side of its square."""
        name, model = _chosen("model", name, self.trackers, "trackers")
        if image_side is not None and image_side not in self._settings.image_sides:
            sides = ", ".join(map(str, self._settings.image_sides)) or "none"
            raise invalid(
                f"image_side: {image_side} is not allowed; allowed are: {sides}",
                setting="image_sides",
            )
        return self._once(
            "tracker",
            name,
            lambda: Tracker(model, image_side=image_side, **self._where),
            side=image_side,
        )

    def default_segmenter(self) -> str:
        """The name of the model that images are encoded by where none is named."""
        return _chosen("model", None, self.segmenters, "segmenters")[0]

    def default_tracker(self) -> str:
        """The name of the model that follows objects where none is named."""
        return _chosen("model", None, self.trackers, "trackers")[0]

    def _once(self, kind: str, name: str, load: Callable[[], M], side: int | None = None) -> M:
        key = (kind, name, side)
        if key not in self._loaded:
            with self._lock:
                if key not in self._loaded:
                    self._loaded[key] = load()
        return self._loaded[key]

    def describe(self, name: str) -> JsonObject:
        """The facts of a model, as the API gives them."""
        kinds = [
            kind
            for kind, names in (
                ("segmenter", {**self.segmenters, **self.trackers}),
                ("detector", self.detectors),
                ("tracker", self.trackers),
            )
            if name in names
        ]
        if not kinds:
            raise not_found()
        model = {"segmenter": self.segmenter, "detector": self.detector, "tracker": self.tracker}[
            kinds[-1]
        ](name)
        return {
            "name": name,
            "kinds": kinds,
            "family": model.family,
            "side": model.side,
            "device": model.device,
            "precision": model.precision,
            "model_id": model.model_id,
            "default": name
            in [next(iter(n), None) for n in (self.segmenters, self.detectors, self.trackers)],
        }

    def names(self) -> list[str]:
        """The names of all models, without repetition."""
        return list(dict.fromkeys([*self.segmenters, *self.detectors, *self.trackers]))


def _by_name(setting: str, texts: tuple[str, ...]) -> dict[str, str]:
    """The models of a setting. Raises ValueError where two have one name."""
    models = dict(map(_named, texts))
    if len(models) < len(texts):
        raise ValueError(
            f"{setting}: two models have the same name in {', '.join(texts)}. Name them, as in "
            "NAME=MODEL"
        )
    return models


def _named(text: str) -> tuple[str, str]:
    """NAME=MODEL, or MODEL, whose name is its last part: a path of the server is not shown."""
    name, given, model = text.partition("=")
    return (name, model) if given else (Path(text).name or text, text)


def _chosen(field: str, name: str | None, models: dict[str, str], setting: str) -> tuple[str, str]:
    if not models:
        raise ServiceError(
            503, "no_model", f"the service was started without {setting}", setting=setting
        )
    if name is None:
        return next(iter(models.items()))
    if name not in models:
        raise invalid(f"{field}: there is no such model; there are {', '.join(models)}")
    return name, models[name]
