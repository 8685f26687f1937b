"""The detector: image and words -> labelled boxes."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Union, overload

import numpy as np
from numpy.typing import NDArray

from segrid import _hub
from segrid._image import ImageLike, check_many, to_image
from segrid._native import _core
from segrid._text import Tokenizer
from segrid._types import ImageItem
from segrid.detections import Detections
from segrid.loaded import LoadedModel
from segrid.results import Masks
from segrid.torch_names import Device, Precision

Prompts = Union[str, Sequence[Union[str, Sequence[str]]]]


class PatchBoxes(NamedTuple):
    """N boxes as the model gives them, best score first."""

    boxes: NDArray[np.float32]  # (N, 4) XYXY, image pixels
    scores: NDArray[np.float32]  # (N,)
    labels: NDArray[np.int64]  # (N,), indices into `names`
    patches: NDArray[np.int64]  # (N,), indices of the image's patches, row-major
    names: list[str]


class Detector(LoadedModel):
    """An open-vocabulary detector: OWLv2 (Minderer et al. 2023) or OWL-ViT (Minderer et al. 2022).

    Immutable, except for its cache of encoded texts; share it between threads.

    Parameters
    ----------
    model : a packaged model's name ("tiny-detector"), a folder with config.json,
        model.safetensors and tokenizer.json (or vocab.json and merges.txt; transformers'
        Owlv2ForObjectDetection and OwlViTForObjectDetection), or a Hugging Face id, perhaps with
        "@revision". "tiny-detector" knows colours, shapes and nuclei, and serves for a first try;
        for photos take "google/owlv2-base-patch16-ensemble" (a download of 620 MB, Apache-2.0)
    device : as `Segmenter` takes it; on CUDA both towers run there, while the boxes of what was
        found are computed on the CPU
    precision : as `Segmenter` takes it; it holds for both towers
    threads : the largest number of threads of the process's budget that a call uses; None: all

    Raises what `Segmenter` raises.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "tiny-detector",
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(_core.Detector, model, device, precision, threads)
        self._tokenizer: Tokenizer | None = None

    def encode(self, image: ImageLike) -> _core.Scene:
        """Encodes an image once; any number of calls take the result in place of the image.

        The result is an immutable value with `image_size` (H, W).
        """
        return self._engine.encode(to_image(image))

    def encode_batch(self, images: Iterable[ImageLike]) -> list[_core.Scene]:
        """Encodes images, of any sizes, as `encode` does; see `Segmenter.encode_batch`."""
        check_many(images)
        return self._engine.encode_batch([to_image(image) for image in images])

    @overload
    def detect(
        self,
        image: list[ImageItem] | tuple[ImageItem, ...],
        prompts: Prompts,
        *,
        threshold: float = ...,
        nms: float | None = ...,
        batch_size: int = ...,
    ) -> list[Detections]: ...
    @overload
    def detect(
        self,
        image: ImageLike | _core.Scene,
        prompts: Prompts,
        *,
        threshold: float = ...,
        nms: float | None = ...,
        batch_size: int = ...,
    ) -> Detections: ...
    def detect(
        self,
        image: ImageItem | list[ImageItem] | tuple[ImageItem, ...],
        prompts: Prompts,
        *,
        threshold: float = 0.1,
        nms: float | None = None,
        batch_size: int = 8,
    ) -> Detections | list[Detections]:
        """Boxes of the objects that the prompts name, in one pass over the image for all prompts.

        Parameters
        ----------
        image : path, bytes, PIL image, array, or the result of `encode`; or a list of them
        prompts : a text, or a list of texts. A list in the place of a text holds synonyms, and its
            first text is their label. Texts of earlier calls are not encoded again
        threshold : boxes have scores above it
        nms : the IoU above which the worse of two boxes with one label is dropped; None: all boxes
            stay, as in the originals
        batch_size : for a list of images: the largest number that are read ahead while one is
            computed

        Every patch of the image gives at most one box, with the label that suits it best. A prompt
        that is longer than the model reads is cut, with a warning.
        Returns `Detections`, best score first, whose `class_id` is the index into `prompts`; a list
        of them for a list of images.
        Raises ValueError or TypeError naming the prompt or the option, and what `Segmenter.encode`
        raises.
        Source: transformers' Owlv2Processor.post_process_grounded_object_detection.
        """
        if isinstance(image, (list, tuple)):
            self.texts_of(prompts)  # raises for prompts that do not fit, for no images too
            if batch_size < 1:
                raise ValueError(f"batch_size: must be at least 1, got {batch_size}")
            with ThreadPoolExecutor(1) as reader:
                ahead = [reader.submit(_read, item) for item in image[:batch_size]]
                found = []
                for i in range(len(image)):
                    item = ahead.pop(0).result()
                    if i + batch_size < len(image):
                        ahead.append(reader.submit(_read, image[i + batch_size]))
                    found.append(self.detect(item, prompts, threshold=threshold, nms=nms))
            return found
        texts, label_of, labels = self.texts_of(prompts)
        check_thresholds(threshold, nms)
        scene, pixels = self._scene(image)
        return detections(
            self._engine.detect(scene, texts, label_of, threshold, nms),
            labels,
            scene.image_size,
            pixels,
        )

    def patch_boxes(
        self,
        image: ImageLike | _core.Scene,
        prompts: Prompts,
        *,
        threshold: float = 0.1,
        every_label: bool = False,
    ) -> PatchBoxes:
        """The boxes of `detect` without non-maximum suppression, each with its patch.

        image, prompts, threshold : as in `detect`
        every_label : a patch gives a box for each label whose score is above the threshold, rather
            than for the best label alone

        Raises what `detect` raises.
        """
        texts, label_of, names = self.texts_of(prompts)
        check_number("threshold", threshold)
        scene, _ = self._scene(image)
        boxes, scores, labels, patches = self._engine.detect(
            scene, texts, label_of, threshold, None, every_label
        )
        return PatchBoxes(boxes, scores, labels, patches, names)

    def detect_like(
        self,
        image: ImageLike | _core.Scene,
        examples: Any,
        *,
        threshold: float = 0.0,
        nms: float = 0.3,
    ) -> Detections:
        """Boxes of objects that look like the examples (one-shot detection).

        Parameters
        ----------
        image : as in `detect`
        examples : an example or a list of them. An example is an image (the model chooses its main
            object), a box (4 numbers XYXY or a row of an (N, 4) array) in `image` itself, or a pair
            (image, box)
        threshold : for scores before they are made relative
        nms : the IoU above which the worse of two boxes is dropped, whatever their labels are; 1:
            all boxes stay

        Returns `Detections` with the labels "example 0", ... Scores are relative, as in the
        original: 1 for the best box, 0 (left out) for a tenth of its score.
        Raises ValueError naming the example, and what `detect` raises.
        Source: transformers' image_guided_detection and post_process_image_guided_detection; boxes
        as in scenic's OWL-ViT.
        """
        check_thresholds(threshold, nms)
        if nms is None:
            raise TypeError("nms: expected one number from 0 to 1, got None; 1 keeps all boxes")
        scene, pixels = self._scene(image)
        scenes, boxes = [], []
        for i, (source, box) in enumerate(_examples(examples)):
            own = scene if source is None else self._scene(source)[0]
            height, width = own.image_size
            if box is not None and not (
                np.isfinite(box).all()
                and 0 <= box[0] < box[2] <= width
                and 0 <= box[1] < box[3] <= height
            ):
                raise ValueError(
                    f"examples[{i}]: the box {box} is not a box inside its image of {height} x "
                    f"{width} (height x width) pixels, XYXY"
                )
            scenes.append(own)
            boxes.append(box)
        if not scenes:
            raise ValueError("detect_like: no examples")
        labels = [f"example {i}" for i in range(len(scenes))]
        return detections(
            self._engine.detect_like(scene, scenes, boxes, threshold, nms),
            labels,
            scene.image_size,
            pixels,
        )

    def propose(
        self,
        image: ImageLike | _core.Scene,
        *,
        threshold: float = 0.1,
        nms: float | None = None,
        max_boxes: int | None = None,
    ) -> Detections:
        """Boxes of anything that looks like an object, without prompts: OWLv2's objectness.

        max_boxes : so many of the best at most; None: all

        Labels are "object".

        Raises NotImplementedError for OWL-ViT, which has none, and what `detect` raises.
        """
        check_thresholds(threshold, nms)
        if max_boxes is not None and max_boxes < 0:
            raise ValueError(f"max_boxes: must not be negative, got {max_boxes}")
        scene, pixels = self._scene(image)
        found = detections(
            self._engine.propose(scene, threshold, nms), ["object"], scene.image_size, pixels
        )
        return found if max_boxes is None else found[:max_boxes]

    def read_tokenizer(self) -> Tokenizer:
        """The tokenizer, read from the model's files on first use.

        Raises FileNotFoundError, CorruptFileError.
        """
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(
                _hub.tokenizer_folder(str(self._arguments["model"]), self._files),
                self._engine.text_length,
            )
        return self._tokenizer

    def _scene(self, image: ImageLike | _core.Scene) -> tuple[_core.Scene, _core.Image | None]:
        if isinstance(image, _core.Scene):
            return image, None
        pixels = to_image(image)
        return self._engine.encode(pixels), pixels

    def texts_of(self, prompts: Prompts) -> tuple[list[list[int]], list[int], list[str]]:
        """The prompts as the engine takes them: the token ids of each text, the index of its label,
        and the labels.

        Raises what `detect` raises for prompts.
        """
        groups: list[Any] = (
            [prompts] if isinstance(prompts, str) else list(() if prompts is None else prompts)
        )
        if not groups:
            raise ValueError("prompts: none given; say what to look for, or use propose()")
        synonyms: list[list[str]] = [
            list(group) if isinstance(group, (list, tuple)) else [group] for group in groups
        ]
        for i, group in enumerate(synonyms):
            if not group:
                raise ValueError(f"prompts[{i}]: an empty list of synonyms")
        ids = self.read_tokenizer()([text for group in synonyms for text in group])
        return (
            ids,
            [i for i, group in enumerate(synonyms) for _ in group],
            [group[0] for group in synonyms],
        )


def detections(
    columns: tuple[Any, ...],
    labels: Sequence[str],
    size: tuple[int, int],
    image: _core.Image | None,
    masks: Masks | None = None,
) -> Detections:
    """The columns of the engine as `Detections`, with the names of their labels."""
    boxes, scores, index = columns[:3]
    return Detections(
        boxes, scores, [labels[i] for i in index], index, (int(size[0]), int(size[1])), masks, image
    )


def _read(image: ImageLike | _core.Scene) -> _core.Image | _core.Scene:
    return image if isinstance(image, _core.Scene) else to_image(image)


def check_thresholds(threshold: float, nms: float | None) -> None:
    """Raises TypeError or ValueError naming the threshold that is no number from 0 to 1."""
    given = {"threshold": threshold} | ({} if nms is None else {"nms": nms})
    for name, value in given.items():
        check_number(name, value)
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: must be from 0 to 1, got {value}")


def check_number(name: str, value: object) -> None:
    """Raises TypeError naming a threshold that is not one number."""
    if isinstance(value, numbers.Real) or getattr(value, "shape", None) == ():
        return
    message = f"{name}: expected one number from 0 to 1, got {value!r}"
    if hasattr(value, "__len__") and not isinstance(value, str):
        message += (
            "; there are no thresholds for single prompts: give the lowest, and drop detections by "
            "their labels and scores"
        )
    raise TypeError(message)


def _examples(examples: Any) -> list[tuple[Any, list[float] | None]]:
    """(image or None, box or None) of each example."""

    def box_of(value: object) -> list[float] | None:
        if isinstance(value, (str, bytes, os.PathLike)) or hasattr(value, "getexif"):
            return None
        try:
            array = np.asarray(value, float)
        except (TypeError, ValueError):
            return None
        return array.tolist() if array.shape == (4,) else None

    if (box := box_of(examples)) is not None:
        return [(None, box)]
    if (
        isinstance(examples, np.ndarray)
        and examples.ndim == 2
        and examples.shape[1] == 4
        and examples.dtype.kind in "iuf"
    ):
        return [(None, row) for row in examples.astype(float).tolist()]
    if (
        isinstance(examples, tuple)
        and len(examples) == 2
        and box_of(examples[1]) is not None
        and box_of(examples[0]) is None
    ):
        return [(examples[0], box_of(examples[1]))]
    if isinstance(examples, (list, tuple)):
        return [pair for item in examples for pair in _examples(item)]
    return [(examples, None)]
