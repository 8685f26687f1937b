"""Parts of the drop-ins' models, with the calls that scripts make on torch modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from segrid._native import _core
from segrid.compat.modules import Model, Module

Self = TypeVar("Self", bound="Part")


class Part(Module):
    """A part of a model. Its weights are those of the model whose names begin with `prefix`; here
    they have the rest of the name. It is on the model's device."""

    def __init__(self, model: Model, prefix: str) -> None:
        self._model, self._prefix = model, prefix

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Returns the part itself if its model already has that device and precision. Otherwise
        raises NotImplementedError, because a part cannot be moved alone."""
        model = self._model
        device, precision = model._asked(args, kwargs)
        device = _core.resolve_device(device)
        here = _core.resolve_device(model._wanted[0])
        if device != here or (device != "cpu" and precision != model._wanted[1]):
            raise self._lacks("to", "a part is where its model is: move the model with `to`")
        return self

    def cpu(self: Self) -> Self:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self: Self, device: Any = None) -> Self:
        """`to("cuda")`."""
        return self.to("cuda" if device is None else device)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """None."""
        return iter(())

    def _weights(self) -> Iterator[tuple[str, Any]]:
        return (
            (name.removeprefix(self._prefix), tensor)
            for name, tensor in self._model._weights(self._prefix)
        )
