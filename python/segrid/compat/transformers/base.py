"""The common part of the pipelines: inputs one by one, in lists or as streams, and the attributes
of transformers' pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segrid._hub import tokenizer_folder
from segrid.compat import modules
from segrid.compat.transformers.loading import load
from segrid.compat.transformers.originals import original


class Model(modules.Model):
    """`pipe.model` for a model that segrid loaded."""

    def __init__(self, loaded: Any) -> None:
        super().__init__(loaded)
        self.name_or_path = str(loaded._arguments["model"])

    @property
    def config(self) -> Any:
        """transformers' configuration object. Raises ImportError if transformers is not
        installed."""
        return original("AutoConfig").from_pretrained(Path(self.segmenter._files.config).parent)

    def num_parameters(self, *_: Any, **__: Any) -> int:
        """The number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())


class Pipeline:
    """Base class of the pipelines here. Subclasses define a `task`, the `kind` of their model, and
    whether it reads words. The arguments are those of transformers.Pipeline; those of the call may
    be given here as defaults.

    Raises ValueError for a transformers model without the tokenizer that it needs, and the errors
    of `kind`."""

    task = ""
    kind: Any
    has_words = False
    framework = "pt"

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        image_processor: Any = None,
        video_processor: Any = None,
        processor: Any = None,
        task: str = "",
        device: Any = None,
        binary_output: bool = False,
        dtype: Any = None,
        torch_dtype: Any = None,
        **defaults: Any,
    ) -> None:
        self.task = task or self.task
        self.processor, self.video_processor = processor, video_processor
        self.feature_extractor = feature_extractor
        self._tokenizer = tokenizer or getattr(processor, "tokenizer", None)
        self._image_processor = (
            image_processor or getattr(processor, "image_processor", None) or feature_extractor
        )
        is_original = hasattr(model, "save_pretrained")
        if is_original and self.has_words and self._tokenizer is None:
            raise ValueError(
                "pipeline: a transformers model comes with its tokenizer: "
                "pipeline(task, model=model, tokenizer=tokenizer)"
            )
        self._own = Model(
            load(
                self.kind,
                model,
                device,
                torch_dtype if dtype is None else dtype,
                *([self._tokenizer] if is_original and self.has_words else []),
            )
        )
        self._model = model if is_original else self._own
        self.binary_output = binary_output
        self._batch_size = defaults.pop("batch_size", None)
        self._num_workers = defaults.pop("num_workers", None)
        self._defaults = defaults
        self.call_count = 0

    @property
    def model(self) -> Any:
        """The transformers model that was given, or else segrid's. The weights of a transformers
        model are copied when the pipeline is made: later changes to the model have no effect, and
        another model needs another pipeline (this attribute cannot be set)."""
        return self._model

    @property
    def device(self) -> Any:
        """The torch.device on which the model runs."""
        return self._own.device

    @property
    def dtype(self) -> Any:
        """The torch.dtype in which the model runs."""
        return self._own.dtype

    torch_dtype = dtype

    @property
    def image_processor(self) -> Any:
        """The image processor that was given, or else transformers' for this model. Raises
        ImportError if transformers is not installed, and OSError if the model's folder describes
        none."""
        if self._image_processor is None:
            folder = Path(self._own.segmenter._files.config).parent
            self._image_processor = original("AutoImageProcessor").from_pretrained(folder)
        return self._image_processor

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that was given, or else transformers' for this model; None for models
        without words. Raises ImportError if transformers is not installed."""
        if self._tokenizer is None and self.has_words:
            loaded = self._own.segmenter
            folder = tokenizer_folder(self._own.name_or_path, loaded._files)
            self._tokenizer = original("AutoTokenizer").from_pretrained(folder)
        return self._tokenizer

    def transform(self, X: Any) -> Any:
        """As the call."""
        return self(X)  # type: ignore[operator]

    predict = transform

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self._own.segmenter!r}"

    def _merged(self, options: dict[str, Any]) -> dict[str, Any]:
        """Returns the defaults, replaced by the options. Scalars of NumPy and torch become
        Python's."""
        return {
            name: value.item() if hasattr(value, "item") else value
            for name, value in (self._defaults | options).items()
        }

    def _answer(self, inputs: Any, one: Callable[[Any], Any]) -> Any:
        """Applies `one` to the inputs. Returns one answer for an input, a list of answers for a
        list, and answers one by one for a dataset or an iterator."""
        self.call_count += 1
        if isinstance(inputs, (list, tuple)):
            return [one(item) for item in inputs]
        return Answers(inputs, one) if is_stream(inputs) else one(inputs)


SINGLE = (str, bytes, bytearray, memoryview, dict, np.ndarray)


def is_stream(inputs: Any) -> bool:
    """Whether the object holds inputs and is not one itself: an iterator, or a dataset (an object
    with items by number, or one that can be iterated)."""
    if isinstance(inputs, Iterator):
        return True
    # A tensor has `detach`, a PIL image has `getpixel`. A shape alone does not tell, because files
    # of many images (h5py, zarr) have one too.
    single = isinstance(inputs, SINGLE) or any(
        hasattr(inputs, name) for name in ("detach", "getpixel")
    )
    by_number = hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")
    return not single and (by_number or hasattr(inputs, "__iter__"))


class Answers(Iterator[Any]):
    """The answers to a dataset's items, computed on demand. It has the dataset's length, and each
    `iter` of it starts again if an `iter` of the dataset does."""

    def __init__(self, inputs: Any, one: Callable[[Any], Any]) -> None:
        self._inputs, self._one = inputs, one
        self._rest = self._items()

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Answers:
        self._rest = self._items()
        return self

    def __next__(self) -> Any:
        return self._one(next(self._rest))

    def _items(self) -> Iterator[Any]:
        if hasattr(self._inputs, "__iter__"):
            return iter(self._inputs)
        return (self._inputs[i] for i in range(len(self._inputs)))
