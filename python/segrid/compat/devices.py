"""Between torch's devices and segrid's: where a drop-in's model runs, and how it moves."""

from __future__ import annotations

from typing import Any, TypeVar

from segrid.segmenter import Segmenter

Self = TypeVar("Self", bound="Movable")


class Movable:
    """A drop-in's model, with what scripts call on a torch module."""

    segmenter: Segmenter

    @property
    def device(self) -> Any:
        """The torch.device on which it runs."""
        import torch

        return torch.device(self.segmenter.device.removesuffix("-plain"))

    def to(self: Self, device: Any = None, *_: Any, **__: Any) -> Self:
        """Moves it. Raises NotImplementedError for a device that is not there."""
        if device is not None:
            self.segmenter = self.segmenter.to(named(device))
        return self

    def cpu(self: Self) -> Self:
        """Moves it to the CPU."""
        return self.to("cpu")

    def cuda(self: Self, device: Any = None) -> Self:
        """Moves it to CUDA. Raises NotImplementedError where there is none."""
        return self.to("cuda" if device is None else device)

    def eval(self: Self) -> Self:
        """Does nothing; the model is always ready."""
        return self


def named(device: Any) -> str:
    """What torch means by it: "cuda" is the device that torch.cuda.set_device chose, a number is CUDA's."""
    if isinstance(device, int):
        return f"cuda:{device}"
    if str(device) == "cuda":
        import torch

        if torch.cuda.is_available():
            return f"cuda:{torch.cuda.current_device()}"
    return str(device)
