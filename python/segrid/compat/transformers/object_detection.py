"""pipeline("zero-shot-object-detection"): boxes of what candidate labels name, one image pass however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from segrid.compat.transformers.images import load
from segrid.compat.transformers.loading import model_of
from segrid.detector import Detector


class ZeroShotObjectDetectionPipeline:
    """As transformers.ZeroShotObjectDetectionPipeline, for OWLv2 and OWL-ViT. transformers encodes the image once more for every label."""

    task = "zero-shot-object-detection"

    def __init__(self, model: Any = None, device: Any = None, dtype: Any = None, torch_dtype: Any = None, tokenizer: Any = None, **defaults: Any) -> None:
        self.detector = _detector(model, device, dtype if dtype is not None else torch_dtype, tokenizer)
        self._defaults = defaults

    def __call__(self, image: Any, candidate_labels: Any = None, **options: Any) -> Any:
        """image : a path, URL, base64 text or PIL image with candidate_labels (a list, or one text with commas between them); or a list of images; or
            {"image", "candidate_labels"}, a list of them, or an iterator, whose results come one by one
        threshold=0.1 : scores are above it. top_k : so many of the best. timeout : seconds, of URLs

        Returns [{"score", "label", "box": {"xmin", "ymin", "xmax", "ymax"} (ints, image pixels)}], best score first; a list of them for a list.
        Raises ValueError as transformers, and what `Detector.detect` raises.
        """
        options = self._defaults | options
        candidate_labels = options.pop("text_queries", candidate_labels)
        if isinstance(image, dict):
            return self._one(image["image"], image["candidate_labels"], **options)
        if isinstance(image, (list, tuple)) and not all(isinstance(item, dict) for item in image):
            return [self._one(item, labels, **options) for item, labels in zip(image, _labels_of_each(candidate_labels, len(image)), strict=True)]
        if isinstance(image, (list, tuple)):
            return [self._one(item["image"], item["candidate_labels"], **options) for item in image]
        if isinstance(image, Iterator):
            return (self._one(item["image"], item["candidate_labels"], **options) for item in image)
        return self._one(image, candidate_labels, **options)

    def _one(self, image: Any, labels: Any, threshold: float = 0.1, top_k: int | None = None, timeout: float | None = None, **_: Any) -> list[dict[str, Any]]:
        labels = labels.split(",") if isinstance(labels, str) else list(labels)
        texts, label_of, names = self.detector.texts_of(labels)
        scene = self.detector.encode(load(image, timeout))
        boxes, scores, index, _ = self.detector._engine.detect(scene, texts, label_of, threshold, None, every_label=True)
        found = [{"score": score, "label": names[i], "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), (int(v) for v in box), strict=True))}
                 for box, score, i in zip(boxes.tolist(), scores.tolist(), index.tolist(), strict=True)]
        return found[:top_k] if top_k else found


def _labels_of_each(labels: Any, count: int) -> list[Any]:
    """For a list of images: the same labels for all, or a list for each."""
    if isinstance(labels, str) or (isinstance(labels, (list, tuple)) and all(isinstance(x, str) for x in labels)):
        return [labels] * count
    if not isinstance(labels, (list, tuple)) or not all(isinstance(own, (list, tuple)) and all(isinstance(x, str) for x in own) for own in labels):
        raise ValueError("candidate_labels must be a string, a flat list of strings, or per-image label lists.")
    if len(labels) != count:
        raise ValueError(f"Got {count} images but {len(labels)} candidate label lists.")
    return list(labels)


def _detector(model: Any, device: Any, dtype: Any, tokenizer: Any) -> Detector:
    if isinstance(model, Detector):
        return model
    if hasattr(model, "save_pretrained") and tokenizer is None:
        raise ValueError("pipeline: a transformers model comes with its tokenizer: pipeline(task, model=model, tokenizer=tokenizer)")
    with model_of(model, device, dtype, tokenizer) as arguments:
        detector = Detector(**arguments)
        detector.read_words()  # while they are there
        return detector
