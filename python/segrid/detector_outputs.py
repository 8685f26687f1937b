"""The output of any detector as `Detections`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segrid.detections import Detections
from segrid.detector import Prompts


class _Columns(NamedTuple):
    """What a detector says of its boxes: arrays of NumPy or torch, or lists; None where it says
    nothing."""

    boxes: Any
    scores: Any = None
    class_ids: Any = None
    names: Sequence[str] | None = None


def to_detections(output: Any, size: tuple[int, int], prompts: Prompts | None = None) -> Detections:
    """The output of a detector, in any form that `Pipeline` lists, for an image of `size` (H, W).

    prompts : what the detector was asked for. Names without class ids get the index of the prompt
        that names them; other names get the next numbers

    Raises ValueError for other forms, and for boxes and scores that are not finite.
    """
    if isinstance(output, Detections):
        return output
    if isinstance(output, (list, tuple)) and len(output) == 1 and hasattr(output[0], "boxes"):
        output = output[0]  # the results of ultralytics for one image
    found = _columns(output)
    if found.boxes is None:
        raise ValueError("detector: returned no boxes (an empty array says that nothing was found)")
    table = _table(found.boxes, type(output).__name__)
    boxes, scores, class_ids = table[:, :4].astype(np.float32), found.scores, found.class_ids
    if table.shape[1] > 4 and scores is None:
        scores = table[:, 4]
    if table.shape[1] > 5 and class_ids is None:
        class_ids = table[:, 5]
    scores = np.ones(len(boxes), np.float32) if scores is None else to_numpy(scores)
    bad = np.flatnonzero(~np.isfinite(scores.astype(np.float64)))
    if len(bad):
        raise ValueError(f"detector: scores[{bad[0]}] is {scores[bad[0]]}")
    if found.names is not None:
        names = [str(name) for name in found.names]
        if class_ids is None:
            class_ids = _ids_of(names, prompts)
        return Detections(boxes, scores, names, to_numpy(class_ids), size)
    if class_ids is None:
        return Detections(boxes, scores, ["object"] * len(boxes), np.zeros(len(boxes), int), size)
    class_ids = to_numpy(class_ids).astype(int)
    return Detections(boxes, scores, [f"class {k}" for k in class_ids], class_ids, size)


def _ids_of(names: list[str], prompts: Prompts | None) -> list[int]:
    """The index of the prompt that names each; names of no prompt follow in their order."""
    groups = [prompts] if isinstance(prompts, str) else list(prompts or ())
    known = {
        text: i
        for i, group in reversed(list(enumerate(groups)))
        for text in ([group] if isinstance(group, str) else group)
    }
    others = [name for name in dict.fromkeys(names) if name not in known]
    known |= {name: len(groups) + i for i, name in enumerate(others)}
    return [known[name] for name in names]


def to_numpy(value: Any) -> NDArray[Any]:
    """A tensor of torch, or anything that NumPy takes, as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _columns(output: Any) -> _Columns:
    if hasattr(output, "xyxy") and hasattr(output, "confidence"):  # supervision
        names = (output.data or {}).get("class_name")
        return _Columns(output.xyxy, output.confidence, output.class_id, names)
    if hasattr(output, "boxes") and hasattr(output.boxes, "xyxy"):  # ultralytics
        boxes = output.boxes
        names = [output.names[int(k)] for k in to_numpy(boxes.cls)]
        return _Columns(boxes.xyxy, boxes.conf, boxes.cls, names)
    if isinstance(output, dict):
        names, labels = output.get("text_labels"), output.get("labels")
        columns = _with_labels(output.get("boxes"), output.get("scores"), labels)
        return columns if names is None else columns._replace(names=names)
    if isinstance(output, tuple) and len(output) in (2, 3) and np.ndim(to_numpy(output[0])) == 2:
        return _with_labels(output[0], output[1], output[2] if len(output) == 3 else None)
    return _Columns(output)


def _with_labels(boxes: Any, scores: Any, labels: Any) -> _Columns:
    """Columns with labels that are names or class ids."""
    if labels is not None and len(labels) and isinstance(labels[0], str):
        return _Columns(boxes, scores, None, labels)
    return _Columns(boxes, scores, labels)


def _table(boxes: Any, form: str) -> NDArray[np.float64]:
    """(N, 4), (N, 5) or (N, 6): the boxes, with scores and class ids where they have them."""
    try:
        table = to_numpy(boxes).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"detector: cannot make boxes of {form}; see segrid.Pipeline for the forms it takes"
        ) from None
    table = table.reshape(0, 4) if table.size == 0 else np.atleast_2d(table)
    if table.ndim != 2 or table.shape[1] not in (4, 5, 6):
        raise ValueError(
            "detector: boxes must be (N, 4) XYXY, or with score and class (N, 5) and (N, 6), got "
            f"{table.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(table[:, :4]).all(axis=1))
    if len(bad):
        raise ValueError(f"boxes[{bad[0]}]: {table[bad[0], :4].tolist()} is not finite")
    return table
