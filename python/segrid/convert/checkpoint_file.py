"""Reads checkpoints as weights only."""

from __future__ import annotations

import re
from pathlib import Path

from segrid._downloads import check_checkpoint
from segrid._native import CorruptFileError
from segrid._types import Tensors

# Where checkpoints of sam2 and EdgeTAM, of Lightning, and of micro-sam keep their tensors.
UNWRAPPED = ("model", "state_dict", "model_state")
CODE = re.compile(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S{1,80})")
TORCH_SAYS = re.compile(r"WeightsUnpickler error:\s*([^\n]+)")
SAVE_WEIGHTS = "where it was made, save its weights alone with torch.save(model.state_dict(), FILE)"


def read(path: Path) -> Tensors:
    """The tensors of a .pt or .pth file by name, at its top or in one of `UNWRAPPED`.

    Raises FileNotFoundError and other OSErrors; CorruptFileError for a file that is damaged, holds
    code, or holds other things than plain tensors.
    """
    import torch

    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a directory; give the checkpoint file")
    try:
        check_checkpoint(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (CorruptFileError, MemoryError):
        raise
    except Exception as error:  # Damaged files make torch and zipfile raise nearly every type.
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise CorruptFileError(f"{path}: {_reason(error)}") from error
    for key in UNWRAPPED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    _check_named_tensors(loaded, path)
    _check_plain(loaded, path)
    return loaded


def _reason(error: Exception) -> str:
    text = str(error)
    if found := CODE.search(text):
        return (
            f"holds more than weights (Unsupported global: {found[1]}), and code is never run; "
            f"{SAVE_WEIGHTS}, and convert that file"
        )
    found = TORCH_SAYS.search(text)
    line = (found[1] if found else text.strip().split("\n", 1)[0])[:200]
    return (
        "cannot be read as weights only: it is damaged, or holds code (which is never run). "
        f"{type(error).__name__}: {line}"
    )


def _check_named_tensors(loaded: object, path: Path) -> None:
    import torch

    if isinstance(loaded, dict):
        others = [
            f"{name!r} ({type(value).__name__})"
            for name, value in loaded.items()
            if not (isinstance(name, str) and isinstance(value, torch.Tensor))
        ]
        if loaded and not others:
            return
        held = ", ".join(others[:8]) or "nothing"
    else:
        held = f"a {type(loaded).__name__}"
    raise CorruptFileError(
        f"{path}: does not hold named tensors and nothing else, at its top or under "
        f"{', '.join(UNWRAPPED)}; it holds {held}. Instead, {SAVE_WEIGHTS}"
    )


def _check_plain(tensors: Tensors, path: Path) -> None:
    import torch

    for name, tensor in tensors.items():
        where = f"{path}: tensor {name!r}"
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            special = "quantized" if tensor.is_quantized else tensor.layout
            raise CorruptFileError(
                f"{where}: is no dense tensor with values ({'meta' if tensor.is_meta else special})"
                "; save it as one, such as with to_dense() or dequantize()"
            )
        stored = tensor.untyped_storage().nbytes()
        if (needed := tensor.numel() * tensor.element_size()) > stored:
            raise CorruptFileError(
                f"{where}: has the shape {tuple(tensor.shape)}, {needed} bytes, of which the file "
                f"stores only {stored}; save tensor.clone() instead of an expanded tensor"
            )
