"""The detector, with SOWLv2's names and results."""

from __future__ import annotations

from typing import Any

from segrid.compat.sowlv2.devices import device_of
from segrid.compat.sowlv2.utils.pipeline_utils import prompt_list
from segrid.compat.tensors import as_stored
from segrid.detector import Detector


class OWLV2Wrapper:
    """OWLv2 or OWL-ViT. `model_name` may be a `segrid.Detector`. Source: sowlv2.models.owl."""

    def __init__(
        self, model_name: Any = "google/owlv2-base-patch16-ensemble", device: str = "cpu"
    ) -> None:
        self.device = device_of(device)
        self.detector = (
            model_name
            if isinstance(model_name, Detector)
            else Detector(model_name, device=self.device)
        )

    def detect(
        self, *, image: Any, prompt: str | list[str], threshold: float = 0.1
    ) -> list[dict[str, Any]]:
        """Returns [{"box" [x0, y0, x1, y1], "score", "label" ("a photo of ..."), "core_prompt"}],
        in patch order. Each patch has the prompt that fits it best."""
        found = self._detect(image, prompt_list(prompt), threshold, each=False)
        return [record for own in found for record in own]

    def detect_each(
        self, image: Any, prompts: list[str], threshold: float
    ) -> list[list[dict[str, Any]]]:
        """Returns the result of `detect` for each prompt alone, in one image pass for all of
        them."""
        return self._detect(image, prompts, threshold, each=True)

    def _detect(
        self, image: Any, prompts: list[str], threshold: float, each: bool
    ) -> list[list[dict[str, Any]]]:
        found = self.detector.patch_boxes(
            as_stored(image),
            [f"a photo of {p}" for p in prompts],
            threshold=threshold,
            every_label=each,
        )
        labels = found.labels.tolist()
        groups = labels if each else [0] * len(labels)
        columns = found.patches.tolist(), found.boxes.tolist(), found.scores.tolist()
        out: list[list[dict[str, Any]]] = [[] for _ in prompts]
        for group, _, box, score, i in sorted(zip(groups, *columns, labels, strict=True)):
            out[group].append(
                {
                    "box": box,
                    "score": score,
                    "label": f"a photo of {prompts[i]}",
                    "core_prompt": prompts[i],
                }
            )
        return out
