"""The base class of loaded models: files, device, precision, and copies with a thread limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from segrid import _hub
from segrid._native import _core
from segrid._types import Options
from segrid.torch_names import Device, Precision, device_name, precision_name

Self = TypeVar("Self", bound="LoadedModel")
Other = TypeVar("Other", bound="LoadedModel")
T = TypeVar("T")


class LoadedModel:
    """A model of the engine. Its pickle holds its arguments; unpickling loads the weights again.

    kind : the class in the engine
    device, precision : names, or objects of torch (torch.device, torch.dtype)
    """

    def __init__(
        self,
        kind: Any,
        model: str | os.PathLike[str],
        device: Device,
        precision: Precision,
        threads: int | None,
        **more: Any,
    ) -> None:
        device, precision = device_name(device), precision_name(precision)
        self._arguments = {
            "model": os.fspath(model),
            "device": device,
            "precision": precision,
            "threads": threads,
            **more,
        }
        self._files = _hub.locate(model)
        with self._config_file() as config:
            self._engine = kind(
                config, self._files.weights, self._files.settings, device, precision, threads
            )
            self._config = Path(config).read_bytes()  # for `save`; the file may be a temporary one

    def _config_file(self) -> AbstractContextManager[str]:
        """The path of the config that the engine reads; it exists inside the block."""
        return nullcontext(str(self._files.config))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self._arguments))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._arguments['model']!r}, device={self.device!r}, "
            f"precision={self.precision!r})"
        )

    @property
    def device(self) -> str:
        """The device where it runs: "cpu", "cuda:0", "cpu-plain"."""
        return self._engine.device

    def to(self: Self, device: Device, precision: Precision | None = None) -> Self:
        """The same model on another device, and in another precision where one is given.

        Returns this model where it has both already, else loads it again with the other arguments
        that it was made with. Raises NotImplementedError for a device that is not there or that
        lacks the precision.
        """
        wanted = _core.resolve_device(device_name(device))
        named = None if precision is None else precision_name(precision)
        if wanted == self.device and named in (None, self.precision):
            return self
        asked = {**self._arguments, "device": wanted}
        return type(self)(**(asked if named is None else {**asked, "precision": named}))

    @property
    def precision(self) -> str:
        """The precision in which it runs, never "auto"."""
        return self._engine.precision

    @property
    def model_id(self) -> str:
        """Identifies the weights: equal for models that were loaded from the same weights."""
        return self._engine.model_id

    @property
    def family(self) -> str:
        """The architecture's family: one of "sam", "sam2", "mobile_sam", "edgetam", "owlv2"
        and "owlvit"."""
        return self._engine.family

    @property
    def side(self) -> int:
        """The side of the square that images are resized into, in pixels."""
        return self._engine.side

    def with_threads(self: Self, threads: int) -> Self:
        """The same model with shared weights, whose calls use at most this many threads.

        Raises ValueError below 1.
        """
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__
        other._engine = self._engine.with_threads(threads)
        other._arguments = {**self._arguments, "threads": threads}
        return other

    def shared_as(self, kind: type[Other]) -> Other:
        """The same loaded model as another class of the same engine, with shared weights. Arguments
        that the other class does not have are kept, and refused when it is unpickled."""
        other = object.__new__(kind)
        other._engine, other._files = self._engine, self._files
        other._config = self._config
        kept = {name: value for name, value in self._arguments.items() if value is not None}
        other._arguments = {"threads": None} | kept
        return other

    def capped(self: Self, threads: int) -> Self:
        """`with_threads`, with its own `threads=` where that is smaller."""
        return self.with_threads(min(threads, self._arguments["threads"] or threads))

    @staticmethod
    def together(
        function: Callable[..., T], models: Sequence[LoadedModel], *arguments: object
    ) -> T:
        """Calls a function of the engine whose first arguments are several models.

        It serves segrid itself: the engine's functions are no public interface.
        """
        return function(*(model._engine for model in models), *arguments)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes an int8 model, so that it loads again without being quantised.

        The folder gets config.json, model.safetensors, segrid.json and the tokenizer of a detector.
        model.safetensors holds the quantised weights in I8 beside their scales (`NAME_scale`); the
        other tensors do not change. precision="auto" means int8 for that folder; other precisions
        read the same rounded weights.

        config.json has what the model was loaded with, such as the `image_side` of a `Tracker`. The
        files appear together: where one cannot be written, none is left.

        Raises ValueError when this model runs in another precision than int8; FileExistsError when
        the folder holds a config.json, a segrid.json or .safetensors files; FileNotFoundError when
        the tokenizer of a Hub model is neither in the Hub's cache nor on the Hub; OSError.
        """
        if self.precision != "int8":
            raise ValueError(
                f"save: this model runs in {self.precision}; only int8 needs its own files: "
                "Segmenter(..., precision='int8').save(...)"
            )
        from segrid.quantised import save

        tokenizer = None
        if self.family in ("owlv2", "owlvit"):
            tokenizer = _hub.tokenizer_folder(self._arguments["model"], self._files)
        save(self._files, self._config, self._engine.quantised, Path(folder), tokenizer)


def _rebuild(kind: Any, arguments: Options) -> LoadedModel:
    return kind(**arguments)
