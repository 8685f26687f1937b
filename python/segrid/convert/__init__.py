"""Turns original checkpoints (`sam_vit_b.pth`, `sam2.1_hiera_small.pt`, ...) into model folders.

The command is `segrid convert FILE -o DIR`.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from segrid._downloads import check_checkpoint
from segrid._files import atomic_write
from segrid._native import CorruptFileError
from segrid._types import JsonObject, Tensors
from segrid.convert import edgetam, mobile_sam, sam, sam2

FAMILIES = (sam, mobile_sam, sam2, edgetam)
# Rules for a Segmenter's family that turn transformers' names into the original checkpoint's names.
# The families listed are those whose conversion does no more than rename.
ORIGINAL_RULES = {"sam": sam.ORIGINAL_RULES, "mobile_sam": mobile_sam.ORIGINAL_RULES}


PUBLISHED_WIDTH, PUBLISHED_HEADS = 256, 8  # all published mask decoders have these


def convert(checkpoint: str | os.PathLike[str], output: str | os.PathLike[str]) -> JsonObject:
    """Writes config.json and model.safetensors (fp32, transformers' names) of an original
    checkpoint into the folder `output`.

    The checkpoint is read as weights only, so that no code in it runs. Its tensors give its family
    and sizes. The result is checked: it is loaded and answers a click. Returns {"family", "video",
    "tensors", "dropped", "bytes"}: `video` says whether the model has the memory that video needs,
    `dropped` are the tensors that segrid has no use for.

    The number of attention heads of the mask decoder is not in the tensors. A config.json beside
    the checkpoint can give it ({"mask_decoder_config": {"num_attention_heads": n}}). Without one it
    is 8, as in every published checkpoint, whose decoders are 256 wide; a decoder of another width
    is then refused.

    Raises FileNotFoundError, CorruptFileError (not a checkpoint, or one that holds more than
    weights), NotImplementedError (an unknown architecture).
    Needs torch and safetensors, which come with segrid's dependencies.
    """
    path = Path(checkpoint)
    return convert_weights(
        read(path), output, heads=heads_in(path.parent / "config.json"), source=str(path)
    )


def convert_weights(
    weights: Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    heads: int | None = None,
    source: str = "the weights",
) -> JsonObject:
    """Does the same for tensors by their original names, as `torch.load` returns them.

    heads : the number of attention heads of the mask decoder; None: 8 for the published width of
        256, and NotImplementedError for another width
    source : the name of the tensors in messages
    """
    folder = Path(output)
    family = family_of(weights, source)
    try:
        config, renamed, dropped = family.convert(dict(weights))
    except KeyError as error:
        raise CorruptFileError(
            f"{source}: lacks a tensor that every checkpoint of this family has "
            f"({error}, as transformers names it)"
        ) from error
    config["mask_decoder_config"]["num_attention_heads"] = _heads(config, heads, source)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "model.safetensors"
    _save(renamed, written)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _check(folder)
    return {
        "family": config["model_type"].removesuffix("_video"),
        "video": config["model_type"].endswith("_video"),
        "tensors": len(renamed),
        "dropped": dropped,
        "bytes": written.stat().st_size,
    }


def family_of(weights: Mapping[str, Any], source: str) -> ModuleType:
    """The module of this package that converts these tensors. Raises NotImplementedError where
    there is none."""
    for family in FAMILIES:
        if family.recognises(weights):
            return family
    raise NotImplementedError(
        f"{source}: not a checkpoint of a known family (segment-anything, MobileSAM, sam2, "
        f"EdgeTAM); it holds {len(weights)} tensors such as {', '.join(sorted(weights)[:4])}"
    )


def heads_in(config: str | os.PathLike[str]) -> int | None:
    """The number of attention heads of the mask decoder in a config.json; None where the file is
    missing or does not give it."""
    try:
        config_file = json.loads(Path(config).read_text(encoding="utf-8"))
        return int(config_file["mask_decoder_config"]["num_attention_heads"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # or another program's config.json
        return None


def _heads(config: JsonObject, given: int | None, source: str) -> int:
    width = config["mask_decoder_config"]["hidden_size"]
    if given is None and width != PUBLISHED_WIDTH:
        raise NotImplementedError(
            f"{source}: its mask decoder is {width} wide, and no tensor tells how many attention "
            f"heads it has (published ones: {PUBLISHED_WIDTH} wide, {PUBLISHED_HEADS} heads). Put "
            'a config.json beside it: {"mask_decoder_config": {"num_attention_heads": n}}'
        )
    return PUBLISHED_HEADS if given is None else given


def read(path: Path) -> Tensors:
    """The tensors of a .pt or .pth file by name.

    {"model": ...} and {"state_dict": ...} are unwrapped.
    """
    import torch

    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a directory; give the checkpoint file")
    check_checkpoint(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
    ) as error:
        raise CorruptFileError(
            f"{path}: cannot be read as weights only: it is damaged, or holds code (which is never "
            f"run). {str(error).splitlines()[0]}"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if (
        not isinstance(loaded, dict)
        or not loaded
        or not all(isinstance(v, torch.Tensor) and isinstance(k, str) for k, v in loaded.items())
    ):
        raise CorruptFileError(f"{path}: does not hold named tensors")
    return loaded


def _save(tensors: Tensors, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    with atomic_write(path) as part:
        save_file(
            {
                k: (v.to(torch.float32) if v.is_floating_point() else v).contiguous().clone()
                for k, v in tensors.items()
            },
            str(part),
            metadata={"format": "pt"},
        )


def _check(folder: Path) -> None:
    """Loads the folder, which checks the name and shape of every tensor, and clicks on a drawn
    image."""
    import numpy as np

    import segrid

    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(
        [np.tile(ramp, (48, 1)), np.tile(ramp[::-1], (48, 1)), np.full((48, 64), 90, np.uint8)],
        axis=2,
    )
    masks = segrid.Segmenter(folder).predict(image, points=[[[30, 20]]], multimask=True)
    if masks.low_res is None or not (
        np.isfinite(masks.low_res).all() and np.isfinite(masks.scores).all()
    ):
        raise CorruptFileError(f"{folder}: the converted model gives NaN or Inf")
