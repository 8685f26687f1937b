"""Turns original checkpoints (`sam_vit_b.pth`, `sam2.1_hiera_small.pt`, ...) into model folders.

The command is `segrid convert FILE -o DIR`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from segrid._model_folder import WEIGHTS, check_holds_no_model, new_model_folder, write_weights
from segrid._native import CorruptFileError
from segrid._types import JsonObject, Tensors
from segrid.convert import config_beside, edgetam, mobile_sam, sam, sam2
from segrid.convert.checkpoint_file import read

FAMILIES = (sam, mobile_sam, sam2, edgetam)
# Rules for a Segmenter's family that turn transformers' names into the original checkpoint's names.
# The families listed are those whose conversion does no more than rename.
ORIGINAL_RULES = {"sam": sam.ORIGINAL_RULES, "mobile_sam": mobile_sam.ORIGINAL_RULES}


PUBLISHED_WIDTH, PUBLISHED_HEADS = 256, 8  # all published mask decoders have these


def convert(checkpoint: str | os.PathLike[str], output: str | os.PathLike[str]) -> JsonObject:
    """Writes config.json and model.safetensors (fp32, transformers' names) of an original
    checkpoint into the folder `output`.

    The checkpoint is read as weights only, so that no code in it runs. Its tensors may be at its
    top or under "model", "state_dict" or "model_state", and their names may share a prefix such as
    "module.". They give the family and the sizes. The result is checked before it appears in
    `output`: it is loaded and answers a click. Returns {"family", "video", "tensors", "dropped",
    "bytes"}: `video` says whether the model has the memory that video needs, `dropped` are the
    tensors that segrid has no use for.

    Two settings are not in the tensors; a config.json beside the checkpoint can give them. The
    number of attention heads of the mask decoder ({"mask_decoder_config": {"num_attention_heads":
    n}}) is else 8, as in every published checkpoint, whose decoders are 256 wide; a decoder of
    another width is then refused. The side of the model's square in pixels ({"image_size": n}) is
    else 1024; for segment-anything the tensors tell it.

    Raises FileNotFoundError; FileExistsError (`output` holds a model); CorruptFileError (not a
    checkpoint, one that holds more than weights, or a config.json with wrong settings);
    NotImplementedError (an unknown architecture); OSError.
    Needs torch and safetensors, which come with segrid's dependencies.
    """
    path = Path(checkpoint)
    check_holds_no_model(Path(output))
    weights = read(path)
    settings = config_beside.read(path.parent / "config.json")
    return convert_weights(
        weights,
        output,
        heads=settings.heads,
        image_size=settings.image_size,
        source=str(path),
    )


def convert_weights(
    weights: Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    heads: int | None = None,
    image_size: int | None = None,
    source: str = "the weights",
) -> JsonObject:
    """Does the same for tensors by their original names, as `torch.load` returns them.

    heads : the number of attention heads of the mask decoder; None: 8 for the published width of
        256, and NotImplementedError for another width
    image_size : side of the model's square in pixels; None: 1024, or what the tensors tell
    source : the name of the tensors in messages
    """
    weights = without_prefix(dict(weights))
    family = family_of(weights, source)
    told = {} if image_size is None or family is sam else {"image_size": image_size}
    try:
        config, renamed, dropped = family.convert(weights, **told)
    except KeyError as error:
        raise CorruptFileError(
            f"{source}: lacks a tensor that every checkpoint of this family has "
            f"({error}, as transformers names it)"
        ) from error
    except NotImplementedError as error:
        raise NotImplementedError(f"{source}: {error}") from error
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{source}: a tensor has another shape than in the checkpoints of this family ({error})"
        ) from error
    config["mask_decoder_config"]["num_attention_heads"] = _heads(config, heads, source)
    with new_model_folder(Path(output)) as part:
        write_weights(
            {
                name: (tensor.float() if tensor.is_floating_point() else tensor).clone()
                for name, tensor in renamed.items()
            },
            part / WEIGHTS,
        )
        (part / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _check(part, source)
        size = (part / WEIGHTS).stat().st_size
    return {
        "family": config["model_type"].removesuffix("_video"),
        "video": config["model_type"].endswith("_video"),
        "tensors": len(renamed),
        "dropped": dropped,
        "bytes": size,
    }


def without_prefix(weights: Tensors) -> Tensors:
    """The tensors without a prefix that all names share, such as the "module." of torch's
    DistributedDataParallel, where these are then the names of a known family."""
    common = os.path.commonprefix(list(weights))
    length = common.rfind(".") + 1
    short = {name[length:]: tensor for name, tensor in weights.items()}
    return short if any(family.recognises(short) for family in FAMILIES) else weights


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


def _heads(config: JsonObject, given: int | None, source: str) -> int:
    width = config["mask_decoder_config"]["hidden_size"]
    if given is None and width != PUBLISHED_WIDTH:
        raise NotImplementedError(
            f"{source}: its mask decoder is {width} wide, and no tensor tells how many attention "
            f"heads it has (published ones: {PUBLISHED_WIDTH} wide, {PUBLISHED_HEADS} heads). Put "
            'a config.json beside it: {"mask_decoder_config": {"num_attention_heads": n}}'
        )
    return PUBLISHED_HEADS if given is None else given


def _check(folder: Path, source: str) -> None:
    """Loads the folder, which checks the name and shape of every tensor, and clicks on a drawn
    image. Errors name `source` in place of the folder."""
    import numpy as np

    import segrid

    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(
        [np.tile(ramp, (48, 1)), np.tile(ramp[::-1], (48, 1)), np.full((48, 64), 90, np.uint8)],
        axis=2,
    )
    try:
        masks = segrid.Segmenter(folder).predict(image, points=[[[30, 20]]], multimask=True)
    except (CorruptFileError, NotImplementedError) as error:
        text = str(error).replace(str(folder / WEIGHTS), source)
        raise type(error)(text.replace(f"{folder}{os.sep}", f"{source}: converted ")) from error
    except RuntimeError as error:  # such as scores that are no numbers
        raise CorruptFileError(f"{source}: the converted model does not work: {error}") from error
    if masks.low_res is None or not (
        np.isfinite(masks.low_res).all() and np.isfinite(masks.scores).all()
    ):
        raise CorruptFileError(f"{source}: the converted model gives NaN or Inf")
