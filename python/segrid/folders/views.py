"""One detector for each kind of picture; the file's name or a function tells the kind."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from segrid._files import read_json
from segrid._image import ImageLike
from segrid._types import ImageItem, Options
from segrid.detections import Detections
from segrid.detector import Detector, Prompts, check_thresholds
from segrid.pipeline import Pipeline
from segrid.segmenter import Segmenter


@dataclass(frozen=True)
class View:
    """A kind of picture.

    Attributes
    ----------
    pattern : of file names ("*_front.*"; upper and lower case are the same), or several; None:
        `Views` has a function that tells
    detector : as `Pipeline` takes it
    prompts, threshold, nms : as `Pipeline` takes them with an image
    """

    pattern: str | tuple[str, ...] | None = None
    detector: Detector | Callable[..., Any] | str | os.PathLike[str] | None = "tiny-detector"
    prompts: Prompts | None = None
    threshold: float = 0.1
    nms: float | None = None

    def __post_init__(self) -> None:
        check_thresholds(self.threshold, self.nms)

    def fits(self, name: str) -> bool:
        """Whether a file of that name is of this kind by the pattern."""
        patterns = (self.pattern,) if isinstance(self.pattern, str) else self.pattern or ()
        return any(fnmatchcase(name.lower(), p.lower()) for p in patterns)

    def class_names(self) -> list[str]:
        """The labels it can give, in their order, as far as they are known without loading the
        detector: those of the prompts, or of the classes that the detector names."""
        if self.prompts is not None:
            groups = [self.prompts] if isinstance(self.prompts, str) else list(self.prompts)
            return [group if isinstance(group, str) else group[0] for group in groups]
        if isinstance(self.detector, (str, os.PathLike)):
            return names_in(self.detector)
        names = (
            getattr(self.detector, "classes", None) or getattr(self.detector, "names", None) or ()
        )
        return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


class Views:
    """A `Pipeline` for each kind of picture, with one segmenter; a detector is loaded once, when
    its first picture comes. Any number of threads may use it.

    views : {name: `View`}; a file belongs to the first view whose pattern fits
    view_of : called with a file's path as it was given, returns the name of its view, or None for
        an image that is left out; patterns are not looked at then. `stream` calls it once for each
        image, in the thread that iterates
    segmenter, trust, device, precision : as `Pipeline` takes them

    Raises ValueError for no views.
    """

    def __init__(
        self,
        views: Mapping[str, View],
        segmenter: Segmenter | str | os.PathLike[str] = "tiny",
        *,
        view_of: Callable[[ImageItem], str | None] | None = None,
        trust: bool = False,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        if not views:
            raise ValueError("views: there are none")
        self.views = dict(views)
        self._choose_view = view_of
        self._pipeline_options: Options = {
            "trust": trust,
            "device": device,
            "precision": precision,
        }
        self.segmenter = (
            segmenter
            if isinstance(segmenter, Segmenter)
            else Segmenter(segmenter, device=device, precision=precision)
        )
        self._threads: int | None = None
        self._loaded: dict[str, Detector | Callable[..., Any] | None] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.views, self.segmenter, self._choose_view, self._pipeline_options))

    def __repr__(self) -> str:
        return f"Views({', '.join(self.views)}; {self.segmenter!r})"

    def view_of(self, path: str | os.PathLike[str]) -> str | None:
        """The name of the view that a file is of; None where the function says that it is left out.

        Raises ValueError where no pattern fits, or the function names a view that is not there;
        TypeError for what has no name; and what the function raises.
        """
        if self._choose_view is not None:
            view = self._choose_view(path)
            if view is not None and view not in self.views:
                raise ValueError(
                    f"{_printable(path)}: view_of returned {view!r}; "
                    f"there are {', '.join(self.views)}"
                )
            return view
        name = Path(path).name
        for view, rule in self.views.items():
            if rule.fits(name):
                return view
        raise ValueError(
            f"{_printable(path)}: of no view "
            f"({', '.join(f'{n}: {v.pattern}' for n, v in self.views.items())}); change the "
            "pattern of its view, or add a view with a pattern that fits"
        )

    def only(self, names: list[str]) -> Views:
        """These views alone; where a function tells, it leaves images of the others out. Raises
        ValueError for a name that is not there."""
        for name in names:
            if name not in self.views:
                raise ValueError(f"view {name!r}: there are {', '.join(self.views)}")
        chosen = {name: view for name, view in self.views.items() if name in names}
        choose_view = self._choose_view and _ChosenViews(
            self._choose_view, frozenset(self.views.keys() - chosen.keys())
        )
        return _rebuild(chosen, self.segmenter, choose_view, self._pipeline_options)

    def pipeline(self, view: str) -> Pipeline:
        """The pipeline of a view, whose detector is loaded where that has not been done.

        Raises ValueError for an unknown view, and what `Pipeline` raises.
        """
        if view not in self.views:
            raise ValueError(f"view {view!r}: there are {', '.join(self.views)}")
        with self._lock:
            if view not in self._loaded:
                self._loaded[view] = Pipeline(
                    self.views[view].detector, self.segmenter, **self._pipeline_options
                ).detector
            detector = self._loaded[view]
        if self._threads is not None and isinstance(detector, Detector):
            detector = detector.capped(self._threads)
        return Pipeline(detector, self.segmenter)

    def with_threads(self, threads: int) -> Views:
        """The same views (detectors shared), whose calls use at most this many threads.

        A model's own `threads=` is kept where it is smaller. Raises ValueError below 1.
        """
        other = _rebuild(
            self.views, self.segmenter.capped(threads), self._choose_view, self._pipeline_options
        )
        other._threads, other._loaded, other._lock = threads, self._loaded, self._lock
        return other

    def __call__(
        self, image: ImageLike, *, view: str | None = None, batch_size: int | None = None
    ) -> Detections:
        """Boxes and masks by the pipeline of `view`, or of the view that the image's file is of.

        Raises what `view_of`, `pipeline` and that pipeline raise, and ValueError where `view_of`
        leaves the image out.
        """
        if view is None:
            if not isinstance(image, (str, os.PathLike)):
                raise ValueError(
                    f"views: an image that is no file ({type(image).__name__}) has no name to tell "
                    "its view; pass view=..."
                )
            view = self.view_of(image)
            if view is None:
                raise ValueError(
                    f"{_printable(image)}: view_of leaves this image out (it returned None); pass "
                    "view=..."
                )
        pipeline, rule = self.pipeline(view), self.views[view]
        return pipeline(
            image, rule.prompts, threshold=rule.threshold, nms=rule.nms, batch_size=batch_size
        )


def _rebuild(
    views: dict[str, View], segmenter: Segmenter, choose_view: Any, pipeline_options: Options
) -> Views:
    return Views(views, segmenter, view_of=choose_view, **pipeline_options)


@dataclass(frozen=True)
class _ChosenViews:
    """A function path -> view that leaves some views out."""

    choose_view: Callable[[ImageItem], str | None]
    others: frozenset[str]

    def __call__(self, path: ImageItem) -> str | None:
        view = self.choose_view(path)
        return None if view in self.others else view


def _printable(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else type(path).__name__


def names_in(file: str | os.PathLike[str]) -> list[str]:
    """The classes that a TorchScript file names (in ultralytics' config.txt within it).

    They are read without loading the file, so that no code in it runs. The list is empty where the
    file names none, or is no such file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            about = [
                one for one in archive.infolist() if one.filename.endswith("/extra/config.txt")
            ]
            if not about or about[0].file_size > 1 << 20:
                return []
            names = json.loads(archive.read(about[0])).get("names")
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile):
        return []
    if not isinstance(names, dict) or not all(key.isdecimal() for key in names):
        return []
    return [str(name) for _, name in sorted(names.items(), key=lambda pair: int(pair[0]))]


def _texts(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
    )


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "pattern": (_texts, "a text or a list of texts"),
    "detector": (lambda v: isinstance(v, str), "a text"),
    "prompts": (
        lambda v: _texts(v) or (isinstance(v, list) and bool(v) and all(map(_texts, v))),
        "a text, or a list of texts and of lists of synonyms",
    ),
    "threshold": (_number, "a number"),
    "nms": (lambda v: v is None or _number(v), "a number or null"),
}


def read_views(
    path: str | os.PathLike[str], threshold: float = 0.1, nms: float | None = None
) -> dict[str, View]:
    """Reads the views of a JSON file.

    The file holds {"front": {"pattern": "*_front.*", "detector": "front.torchscript", "prompts":
    ["a tooth"], "threshold": 0.01, "nms": 0.5}, ...}. Detector files beside it are named relative
    to its folder. A view without "pattern" has none.

    threshold, nms : for views that name none

    Raises ValueError for other content, FileNotFoundError.
    """
    found = read_json(path)
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(v, dict) for v in found.values())
    ):
        raise ValueError(
            f'{os.fspath(path)}: expected {{"front": {{"pattern": "*_front.*", "detector": '
            f'"front.torchscript"}}, ...}}'
        )
    views = {}
    for name, given in found.items():
        unknown = given.keys() - _FIELDS.keys()
        if unknown:
            raise ValueError(
                f"{os.fspath(path)}: view {name!r}: unknown {', '.join(sorted(unknown))}"
            )
        rule = {"threshold": threshold, "nms": nms} | given
        for field, (fits, what) in _FIELDS.items():
            if field in rule and not fits(rule[field]):
                raise ValueError(
                    f"{os.fspath(path)}: view {name!r}: {field} must be {what}, got {rule[field]!r}"
                )
        pattern = rule.get("pattern")
        rule["pattern"] = tuple(pattern) if isinstance(pattern, list) else pattern or None
        if "detector" in given and (beside := Path(path).parent / given["detector"]).exists():
            rule["detector"] = str(beside)
        views[name] = View(**rule)
    return views
