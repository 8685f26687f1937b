"""pipeline("zero-shot-object-detection"): boxes of the objects that candidate labels name.

The image passes through the model once, however many labels there are.
"""

from __future__ import annotations

from typing import Any

from segrid.compat.transformers.base import Pipeline
from segrid.compat.transformers.images import load
from segrid.detector import Detector


class ZeroShotObjectDetectionPipeline(Pipeline):
    """As transformers.ZeroShotObjectDetectionPipeline, for OWLv2 and OWL-ViT. transformers encodes
    the image again for every label; segrid encodes it once. `batch_size` and `num_workers` are
    accepted and have no effect."""

    task = "zero-shot-object-detection"
    kind = Detector
    has_words = True

    @property
    def detector(self) -> Detector:
        """segrid's model."""
        return self._own.segmenter  # type: ignore[return-value]

    def __call__(self, image: Any, candidate_labels: Any = None, **options: Any) -> Any:
        """Detects objects in one or more images.

        image : a path, URL, base64 text or PIL image, with candidate_labels (a list, or one text
            with commas between the labels); or a list of images; or {"image", "candidate_labels"},
            or a list of them; or a dataset of them (an object with items by number, or one that can
            be iterated) or an iterator, whose results are computed on demand, one by one
        threshold : the least score, 0.1 by default; results are above it
        top_k : the most results, best first
        timeout : seconds to wait for URLs

        Returns [{"score", "label", "box": {"xmin", "ymin", "xmax", "ymax"} (ints, image pixels)}],
        best score first; a list of them for a list. Raises ValueError as transformers does, and the
        errors of `Detector.detect`."""
        options = self._merged(options)
        labels = options.pop("text_queries", candidate_labels)
        if isinstance(image, (list, tuple)) and not any(isinstance(item, dict) for item in image):
            each = _labels_of_each(labels, len(image))
            image = [
                {"image": item, "candidate_labels": own}
                for item, own in zip(image, each, strict=True)
            ]

        def one(item: Any) -> list[dict[str, Any]]:
            record = item if isinstance(item, dict) else {"image": item, "candidate_labels": labels}
            return self._one(record["image"], record["candidate_labels"], **options)

        return self._answer(image, one)

    def _one(
        self,
        image: Any,
        labels: Any,
        threshold: float = 0.1,
        top_k: int | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> list[dict[str, Any]]:
        labels = labels.split(",") if isinstance(labels, str) else list(labels)
        found = self.detector.patch_boxes(
            load(image, timeout), labels, threshold=threshold, every_label=True
        )
        records = [
            {
                "score": score,
                "label": found.names[i],
                "box": dict(
                    zip(("xmin", "ymin", "xmax", "ymax"), (int(v) for v in box), strict=True)
                ),
            }
            for box, score, i in zip(
                found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            )
        ]
        return records[:top_k] if top_k else records


def _labels_of_each(labels: Any, count: int) -> list[Any]:
    """Returns the labels for each of a list of images: the same for all, or a list for each."""
    if isinstance(labels, str) or (
        isinstance(labels, (list, tuple)) and all(isinstance(x, str) for x in labels)
    ):
        return [labels] * count
    if not isinstance(labels, (list, tuple)) or not all(
        isinstance(own, (list, tuple)) and all(isinstance(x, str) for x in own) for own in labels
    ):
        raise ValueError(
            "candidate_labels must be a string, a flat list of strings, or per-image label lists."
        )
    if len(labels) != count:
        raise ValueError(f"Got {count} images but {len(labels)} candidate label lists.")
    return list(labels)
