"""Decides what a run computes for each image: everything, or masks for words, given boxes, a
detector's boxes, or a detector for each view."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segrid._files import read_json
from segrid._types import JsonObject, Options
from segrid.detector import Detector, Prompts
from segrid.folders.classes import Classes, classes_of
from segrid.folders.inputs import Input
from segrid.folders.views import View, Views, read_views
from segrid.folders.writers import SEGMENTED
from segrid.pipeline import Pipeline
from segrid.segmenter import Segmenter


@dataclass
class JobPlan:
    """The computation of a run.

    model, options : of `segrid.stream` and of its calls
    images : in the order in which they are done
    named : settings on which the results depend, in addition to the segmenter
    boxes : given boxes, by image
    rules : settings on which the results of each view depend
    view_of : the view of each image, by key; those of no view are not in it
    classes : the classes that can be found"""

    model: Any
    images: list[Input]
    options: Options
    named: JsonObject = field(default_factory=dict)
    boxes: JsonObject | None = None
    rules: JsonObject = field(default_factory=dict)
    classes: Classes = SEGMENTED
    view_of: dict[str, str] = field(default_factory=dict)


@dataclass
class JobRequest:
    """The user's request; see `segrid batch --help`."""

    prompts: list[str] = field(default_factory=list)
    boxes: Path | None = None
    detector: str | None = None
    views: Path | None = None
    view: list[str] = field(default_factory=list)
    trust: bool = False
    conf_threshold: float = 0.1
    nms: float | None = None
    sam_batch_size: int | None = None
    device: str = "auto"  # for detectors given by name
    precision: str = "auto"


def plan_job(
    segmenter: Segmenter, request: JobRequest, images: list[Input], options: Options
) -> JobPlan:
    """Loads the models that a request needs, and refuses a wrong request before any image is read.

    options : of segment everything; used if nothing else is requested

    Raises ValueError for a combination that is not allowed, for values out of range, and where no
    image has boxes or a view; and the errors of Detector, ScriptedDetector and read_views."""
    _try_options(segmenter, options)
    _check_request(request)
    limit = {} if request.sam_batch_size is None else {"batch_size": request.sam_batch_size}
    if request.views is not None:
        return _plan_views(segmenter, request, images, limit)
    if request.boxes is not None:
        listed = _boxes_for(images, request.boxes)
        return JobPlan(Pipeline(None, segmenter), images, limit, {"boxes": True}, listed)
    if request.prompts or request.detector:
        return _plan_detector(segmenter, request, images, limit)
    return JobPlan(segmenter, images, options, {"options": _given(options)})


def _check_request(request: JobRequest) -> None:
    for name, value in (("--conf-threshold", request.conf_threshold), ("--nms", request.nms)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}: must be from 0 to 1, got {value}")
    ways = (
        request.boxes is not None,
        bool(request.prompts or request.detector),
        request.views is not None,
    )
    if sum(ways) > 1:
        raise ValueError("give --boxes, or --prompt or --detector, or --views; not several of them")
    if request.view and request.views is None:
        raise ValueError("--view: names a view of --views FILE, which is not given")


def _given(options: Options) -> Options:
    return {name: value for name, value in options.items() if value is not None}


def _boxes_for(images: list[Input], file: Path) -> JsonObject:
    """The boxes in a JSON file. Raises ValueError where no image has an entry."""
    listed = _read_boxes(file)
    if not any(one.key in listed or one.path.name in listed for one in images):
        raise ValueError(
            f"--boxes: {file}: no entry for any of {len(images)} images, such as {images[0].key}; "
            "an entry is named by the image's path, as here, or by its file name"
        )
    return listed


def _plan_detector(
    segmenter: Segmenter, request: JobRequest, images: list[Input], limit: Options
) -> JobPlan:
    """Every image goes through one detector."""
    pipeline = Pipeline(
        request.detector or "tiny-detector",
        segmenter,
        trust=request.trust,
        device=request.device,
        precision=request.precision,
    )
    prompts = request.prompts or None
    identity = _identity(pipeline, prompts, f"--detector {request.detector}", request.detector)
    options: Options = {"threshold": request.conf_threshold, "nms": request.nms}
    if prompts:
        options["prompts"] = prompts
    names = View(prompts=prompts, detector=pipeline.detector).class_names()
    return JobPlan(
        pipeline,
        images,
        options | limit,
        {"detector": identity, "options": _given(options)},
        classes=classes_of(names),
    )


def _plan_views(
    segmenter: Segmenter, request: JobRequest, images: list[Input], limit: Options
) -> JobPlan:
    """Groups images by view. Images of no view come last, and fail; with --view, these and images
    of other views are left out."""
    assert request.views is not None
    with errors_name_option("--views"):
        given = read_views(request.views, request.conf_threshold, request.nms)
    every = Views(
        given,
        segmenter,
        view_of=_view_for_all(given, request),
        trust=request.trust,
        device=request.device,
        precision=request.precision,
    )
    chosen = every.only(request.view) if request.view else every
    of: dict[str, str] = {}
    order: list[str | None] = [*chosen.views] if request.view else [*chosen.views, None]
    kept = []
    for one in images:
        if (view := _view_or_none(every, one)) in order:
            kept.append(one)
            of |= {} if view is None else {one.key: view}
    if not of:
        if not request.view:
            every.view_of(images[0].path)  # raises, as for all of them
        raise ValueError(f"--view {', '.join(request.view)}: none of {len(images)} images is of it")
    kept.sort(key=lambda one: order.index(of.get(one.key)))
    classes = classes_of([name for v in every.views.values() for name in v.class_names()])
    rules = {}
    for view in set(of.values()):
        rule = chosen.views[view]
        detector = _identity(chosen.pipeline(view), rule.prompts, f"view {view!r}", rule.detector)
        rules[view] = {
            "view": view,
            "detector": detector,
            "prompts": rule.prompts,
            "threshold": rule.threshold,
            "nms": rule.nms,
            "categories": [classes.category(name, 0) for name in rule.class_names()],
        }
    return JobPlan(chosen, kept, limit, {"views": True}, None, rules, classes, of)


def _view_or_none(views: Views, one: Input) -> str | None:
    """The view of an image; None where it is of no view."""
    try:
        return views.view_of(one.path)
    except ValueError:
        return None


def _view_for_all(given: dict[str, View], request: JobRequest) -> Callable[[object], str] | None:
    """Returns a function that assigns all images to the one view of --view, if that view has no
    pattern, and None if every view has a pattern.

    Raises ValueError for other views without a pattern."""
    lacking = [name for name, view in given.items() if view.pattern is None]
    if len(request.view) == 1 and request.view[0] in lacking:
        return partial(_constant_view, request.view[0])
    if lacking:
        raise ValueError(
            f"{request.views}: view {lacking[0]!r}: no pattern; give one, or say with "
            f"--view {lacking[0]} alone that all images are of this view"
        )
    return None


def _constant_view(view: str, path: object) -> str:
    return view


def _identity(pipeline: Pipeline, prompts: Prompts | None, where: str, file: object) -> str:
    """Returns a text that identifies a detector: its model and precision, or a hash of its file.

    Raises ValueError if prompts and detector do not fit together."""
    if isinstance(pipeline.detector, Detector):
        if not prompts:
            raise ValueError(
                f"{where}: say what to look for with "
                + ("--prompt" if where.startswith("--") else '"prompts"')
            )
        pipeline.detector.texts_of(prompts)
        return f"{pipeline.detector.model_id} {pipeline.detector.precision}"
    if prompts:
        word = "--prompt" if where.startswith("--") else '"prompts"'
        raise ValueError(
            f"{where}: a TorchScript detector has classes of its own and takes no {word}"
        )
    return hashlib.sha1(Path(str(file)).read_bytes()).hexdigest()


def _try_options(segmenter: Segmenter, options: Options) -> None:
    """Raises the errors of `everything` about its options, before any image is quarantined for
    them."""
    segmenter.everything(
        np.zeros((8, 8, 3), np.uint8),
        **(
            options
            | {"points_per_side": min(options.get("points_per_side") or 1, 1), "crop_n_layers": 0}
        ),
    )
    if options.get("points_per_side") is not None and not 1 <= options["points_per_side"] <= 500:
        raise ValueError(
            f"--points-per-side: must be from 1 to 500, got {options['points_per_side']}"
        )
    segmenter.check_options(**options)


@contextmanager
def errors_name_option(name: str) -> Iterator[None]:
    """Adds the option that named a file to errors about that file."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, f"{name}: {error.strerror}", error.filename) from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _read_boxes(path: Path) -> JsonObject:
    """Reads {"image": [[x0, y0, x1, y1], ...]} from a JSON file."""
    with errors_name_option("--boxes"):
        found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise ValueError(f'--boxes: {path}: expected {{"image.png": [[x0, y0, x1, y1], ...], ...}}')
    return found
