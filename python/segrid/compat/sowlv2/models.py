"""The two models under the names and with the results that SOWLv2 gives them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from segrid._image import to_image
from segrid._native import _core
from segrid.detector import Detector
from segrid.embedding import Embedding
from segrid.segmenter import Segmenter


def device_of(device: str) -> str:
    """Where models run; where CUDA is asked for and not there, "cpu", and a warning says why. Raises ValueError for unknown names."""
    try:
        return _core.resolve_device(device)
    except NotImplementedError as error:
        warnings.warn(f"{error}; running on the CPU", UserWarning, stacklevel=3)
        return "cpu"


class OWLV2Wrapper:
    """OWLv2 or OWL-ViT; `model_name` may be a `segrid.Detector`. Source: sowlv2.models.owl."""

    def __init__(self, model_name: Any = "google/owlv2-base-patch16-ensemble", device: str = "cpu") -> None:
        self.device = device_of(device)
        self.detector = model_name if isinstance(model_name, Detector) else Detector(model_name, device=self.device)

    def detect(self, *, image: Any, prompt: str | list[str], threshold: float = 0.1) -> list[dict[str, Any]]:
        """[{"box" [x0, y0, x1, y1], "score", "label" ("a photo of ..."), "core_prompt"}]: each patch with the prompt that suits it best, in patch order."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        return [record for own in self._detect(image, prompts, threshold, False) for record in own]

    def detect_each(self, image: Any, prompts: list[str], threshold: float) -> list[list[dict[str, Any]]]:
        """What `detect` gives for each prompt alone, for all of them in one image pass."""
        return self._detect(image, prompts, threshold, True)

    def _detect(self, image: Any, prompts: list[str], threshold: float, each: bool) -> list[list[dict[str, Any]]]:
        texts, label_of, _ = self.detector.texts_of([f"a photo of {p}" for p in prompts])
        scene = self.detector.encode(image)
        boxes, scores, index, patches = self.detector._engine.detect(scene, texts, label_of, threshold, None, each)
        found = sorted(zip(index.tolist() if each else [0] * len(index), patches.tolist(), boxes.tolist(), scores.tolist(), index.tolist(), strict=True))
        out: list[list[dict[str, Any]]] = [[] for _ in prompts]
        for group, _, box, score, i in found:
            out[group].append({"box": box, "score": score, "label": f"a photo of {prompts[i]}", "core_prompt": prompts[i]})
        return out


class SAM2Wrapper:
    """SAM 2 (or any of segrid's models); `model_name` may be a `segrid.Segmenter`. The last image stays encoded. Source: sowlv2.models.sam2_wrapper."""

    def __init__(self, model_name: Any = "facebook/sam2.1-hiera-small", device: str = "cpu") -> None:
        self.device = device_of(device)
        self.segmenter = model_name if isinstance(model_name, Segmenter) else Segmenter(model_name, device=self.device)
        self._last: tuple[bytes, Embedding] | None = None

    def segment(self, image: Any, box: Any) -> np.ndarray:
        """(H, W) uint8, 0 and 255: the mask of a box XYXY."""
        return self.segment_all(image, [box])[0]

    def segment_all(self, image: Any, boxes: list[Any]) -> list[np.ndarray]:
        """The masks of several boxes, in one batch."""
        if not boxes:
            return []
        return [mask.astype(np.uint8) * 255 for mask in self.segmenter.predict(self._embedding(image), boxes=np.asarray(boxes, np.float32), anywhere=True).array]

    def _embedding(self, image: Any) -> Embedding:
        import hashlib

        pixels = to_image(image)
        array = pixels.array
        known = hashlib.blake2b(array.tobytes(), digest_size=16, salt=str(array.shape).encode()[:16]).digest()
        last = self._last
        if last is None or last[0] != known:
            last = self._last = (known, self.segmenter.encode(pixels))
        return last[1]
