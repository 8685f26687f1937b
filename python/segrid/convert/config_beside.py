"""The settings that tensors do not tell, from a config.json beside a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from segrid._downloads import check_model_file
from segrid._files import read_json
from segrid._native import CorruptFileError
from segrid._types import JsonObject

HEADS = ("mask_decoder_config", "num_attention_heads")
SIDES = (  # in the configs of transformers' classes, and of those that segrid writes
    ("image_size",),
    ("vision_config", "image_size"),
    ("vision_config", "backbone_config", "image_size"),
    ("prompt_encoder_config", "image_size"),
)


class Settings(NamedTuple):
    """heads : of the mask decoder's attention; image_size : side of the model's square, in pixels.
    None: not given."""

    heads: int | None
    image_size: int | None


def read(config: Path) -> Settings:
    """Reads the settings; each is None where the file is missing or does not give it.

    Raises CorruptFileError for a file that is not JSON, or with a setting that is not a positive
    whole number; OSError.
    """
    if not config.exists():
        return Settings(None, None)
    check_model_file(config)
    try:
        facts = read_json(config)
    except ValueError as error:
        raise CorruptFileError(f"{error}; mend this file or remove it") from error
    heads = _whole(facts, HEADS, config)
    sides = (side for place in SIDES if (side := _whole(facts, place, config)) is not None)
    return Settings(heads, next(sides, None))


def _whole(facts: JsonObject, place: tuple[str, ...], config: Path) -> int | None:
    found: object = facts
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, list) and place in SIDES and len(found) == 2 and found[0] == found[1]:
        found = found[0]  # [height, width]
    if found is None or (type(found) is int and found > 0):
        return found
    raise CorruptFileError(
        f"{config}: {'.'.join(place)} must be a positive whole number, got {repr(found)[:60]}; "
        "mend this file or remove it"
    )
