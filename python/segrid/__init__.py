"""segrid: promptable segmentation (SAM) on ordinary CPUs, fast.

>>> import segrid
>>> model = segrid.Segmenter("tiny")
>>> masks = model.everything("photo.jpg")

Importing this package is instant: the engine loads when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Segmenter": "segmenter",
    "Detector": "detector",
    "Detections": "detections",
    "Pipeline": "pipeline",
    "Tracker": "video.tracker",
    "TrackedFrame": "video.tracked_frame",
    "ScriptedDetector": "scripted",
    "Embedding": "embedding",
    "Masks": "results",
    "parallel_grid_segmentation": "compat.grid",
    "perform_parallel_segmentation": "compat.microscopy",
    "FieldResult": "compat.microscopy",
    "read_image": "_image",
    "compare": "measuring.comparison",
    "compare_video": "measuring.video_comparison",
    "Streamed": "folders.stream",
    "stream": "folders.stream",
    "tune": "measuring.tuning",
    "Trace": "measuring.trace",
    "View": "folders.views",
    "Views": "folders.views",
    "CancelToken": "_native",
    "Cancelled": "_native",
    "CorruptFileError": "_native",
    "set_threads": "_native",
    "threads": "_native",
}

__all__ = ["__version__", *sorted(_WHERE)]

if TYPE_CHECKING:
    from segrid._image import read_image
    from segrid._native import Cancelled, CancelToken, CorruptFileError, set_threads, threads
    from segrid.compat.grid import parallel_grid_segmentation
    from segrid.compat.microscopy import FieldResult, perform_parallel_segmentation
    from segrid.detections import Detections
    from segrid.detector import Detector
    from segrid.embedding import Embedding
    from segrid.folders.stream import Streamed, stream
    from segrid.folders.views import View, Views
    from segrid.measuring.comparison import compare
    from segrid.measuring.trace import Trace
    from segrid.measuring.tuning import tune
    from segrid.measuring.video_comparison import compare_video
    from segrid.pipeline import Pipeline
    from segrid.results import Masks
    from segrid.scripted import ScriptedDetector
    from segrid.segmenter import Segmenter
    from segrid.video.tracked_frame import TrackedFrame
    from segrid.video.tracker import Tracker


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(f"segrid.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'segrid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
