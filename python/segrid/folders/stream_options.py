"""Options that many images share are checked once, before the first image."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches

from segrid._types import Options
from segrid.detector import Detector, check_thresholds
from segrid.folders.views import Views
from segrid.pipeline import Pipeline
from segrid.segmenter import Segmenter

PROMPTS = frozenset({"boxes", "points", "mask_hints"})


def check_options(model: object, options: Options, *, more_follow: bool) -> None:
    """Checks the options that all images share. Those of other callables are not known.

    more_follow : images have options of their own, such as boxes

    Raises TypeError for an option that the model's call does not have, ValueError for a value that
    does not fit.
    """
    names = _names(model, options, more_follow)
    for name in options.keys() - names if names else ():
        close = get_close_matches(name, names, 3)
        rest = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
        raise TypeError(f"options: {type(model).__name__} has no option {name!r}; {rest}")
    if isinstance(model, (Pipeline, Detector)):
        check_thresholds(options.get("threshold", 0.1), options.get("nms"))
    elif isinstance(model, Segmenter) and not more_follow and not options.keys() & PROMPTS:
        watched = {"progress", "cancel"}  # not the engine's options
        model.check_options(**{n: value for n, value in options.items() if n not in watched})


def _names(model: object, options: Options, more_follow: bool) -> list[str]:
    """The options of the call, or calls, that an image may get. Empty where they are not known."""
    if isinstance(model, Segmenter):
        if more_follow:
            return _keywords(model.everything) + _keywords(model.predict)
        return _keywords(model.predict if options.keys() & PROMPTS else model.everything)
    if isinstance(model, Detector):
        return _keywords(model.detect)
    return _keywords(model.__call__) if isinstance(model, (Pipeline, Views)) else []


def _keywords(call: Callable[..., object]) -> list[str]:
    """The names that a call takes after the image."""
    return list(inspect.signature(call).parameters)[1:]
