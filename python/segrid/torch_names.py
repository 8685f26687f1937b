"""Devices and precisions, which may be objects of torch. torch itself is not imported: its objects
are recognised by the names of their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    import torch

    Device = Union[str, torch.device]
    Precision = Union[str, torch.dtype]
else:
    Device = Precision = Any

PRECISIONS = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}


def device_name(device: object) -> str:
    """The name of a device as the engine takes it: a text as it is, a torch.device by its text
    ("cuda:0"). Raises TypeError for anything else."""
    if isinstance(device, str):
        return device
    if _is_of_torch(device, "device"):
        return str(device)
    raise TypeError(
        f"device: expected a name such as 'cpu' or 'cuda:0', or a torch.device, got {device!r}"
    )


def precision_name(precision: object) -> str:
    """The name of a precision as the engine takes it: a text as it is, torch.float32,
    torch.float16 and torch.bfloat16 by their short names.

    Raises ValueError for another dtype of torch, TypeError for anything else.
    """
    if isinstance(precision, str):
        return precision
    if not _is_of_torch(precision, "dtype"):
        raise TypeError(
            f"precision: expected a name such as 'fp32', or a dtype of torch, got {precision!r}"
        )
    if str(precision) not in PRECISIONS:
        raise ValueError(
            f"precision: of torch's dtypes models run in {', '.join(PRECISIONS)} (for int8 give "
            f"the text 'int8'), got {precision}"
        )
    return PRECISIONS[str(precision)]


def _is_of_torch(value: object, name: str) -> bool:
    kind = type(value)
    return kind.__module__ == "torch" and kind.__name__ == name
