"""Makes a Segmenter from a state dict: from a complete one, or from one that replaces some tensors
of another Segmenter. Its files are in temporary folders."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import segrid
from segrid._native import CorruptFileError
from segrid.convert import FAMILIES, ORIGINAL_RULES, PUBLISHED_HEADS, convert_weights, sam2
from segrid.convert.mobile_sam import UNUSED
from segrid.convert.names import depth, original_names, renamed

RULES = {**ORIGINAL_RULES, "sam2": sam2.ORIGINAL_RULES}
# Finds the names in the engine's message.
MISSING = re.compile(r"missing \(\d+\): ([^;]*)")


class TemporaryFolder(str):
    """The path of a folder that is removed together with the last Segmenter loaded from it, or when
    the process ends. The Segmenter keeps this object among its arguments."""

    before: Any = None  # a folder that must live as long

    @classmethod
    def make(cls) -> TemporaryFolder:
        """A new one."""
        folder = cls(tempfile.mkdtemp(prefix="segrid-"))
        weakref.finalize(folder, _remove, str(folder), os.getpid())
        return folder

    def __deepcopy__(self, _: Any) -> TemporaryFolder:
        return self

    def __reduce__(self) -> Any:
        return str, (str(self),)


def _remove(folder: str, maker: int) -> None:
    # A forked process has the path too, but must not remove it.
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)


class MissingTensors(Exception):
    """A state dict lacks tensors; `names` are their names in the original."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class Slot(NamedTuple):
    """The place of a state dict's tensor in the model's file: a whole tensor, or a row of one."""

    name: str
    row: int | None
    shape: tuple[int, ...]


def load_whole(weights: Mapping[str, Any], kind: Any = segrid.Segmenter) -> Any:
    """Makes a Segmenter, or another `kind` of model, on the CPU from all tensors of an original
    checkpoint, by their original names. Its mask decoder has the heads that every published one
    has.

    Raises MissingTensors, CorruptFileError for tensors that do not fit together, and
    NotImplementedError for another architecture."""
    absent = [[name for name in family.MARKS if name not in weights] for family in FAMILIES]
    if all(absent) and (nearly := [names for names in absent if len(names) == 1]):
        raise MissingTensors(nearly[0])
    folder = TemporaryFolder.make()
    try:
        convert_weights(weights, folder, heads=PUBLISHED_HEADS)
    except CorruptFileError as error:
        key = error.__cause__
        told = [key.args[0]] if isinstance(key, KeyError) else _told(str(error))
        if told:
            raise MissingTensors([_original(name, weights) for name in told]) from error
        text = str(error).replace(str(Path(folder, "model.safetensors")), "the weights")
        raise CorruptFileError(text.replace(folder, "the weights")) from error
    return kind(folder, precision="fp32", device="cpu")


def load_over(
    before: segrid.Segmenter, weights: Mapping[str, Any], places: Mapping[str, Slot]
) -> segrid.Segmenter:
    """Returns the Segmenter `before` with some of its tensors replaced, on the CPU.

    places : the place of each of the weights, as `slots` returns it"""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(before._files.weights, framework="pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    for name, tensor in weights.items():
        slot = places[name]
        for twin in _twins(slot.name):
            if twin in tensors:
                whole = tensors[twin]
                target = whole if slot.row is None else whole[slot.row : slot.row + 1]
                target.copy_(tensor.detach())
    folder = TemporaryFolder.make()
    arguments = before._arguments | {"model": folder, "precision": "fp32", "device": "cpu"}
    save_file(tensors, Path(folder, "model.safetensors"), metadata={"format": "pt"})
    shutil.copyfile(before._files.config, Path(folder, "config.json"))
    if before._files.settings is not None:
        shutil.copyfile(before._files.settings, Path(folder, "segrid.json"))
    return type(before)(**arguments)


def slots(segmenter: segrid.Segmenter, given: Iterable[str]) -> dict[str, Slot]:
    """Returns the places of a state dict's tensors, by the original's names, or by the names of the
    model's own file if the given names are such.

    Raises NotImplementedError for another family, and for a model that is saved in int8."""
    from safetensors import safe_open

    if segmenter.family not in RULES:
        raise NotImplementedError(
            f"load_state_dict: only for models of {', '.join(RULES)}, not of {segmenter.family}"
        )
    with safe_open(segmenter._files.weights, framework="pt") as file:
        pieces = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        if any(piece.get_dtype() == "I8" for piece in pieces.values()):
            raise NotImplementedError(
                f"{segmenter._files.weights}: holds int8 weights, which a state dict cannot replace"
            )
        shapes = {name: tuple(piece.get_shape()) for name, piece in pieces.items()}
    own = {name: Slot(name, None, shape) for name, shape in shapes.items()}
    if segmenter.family == "sam2":
        shapes = {name: shape for name, shape in shapes.items() if name.startswith(sam2.IMAGE)}
    originals: dict[str, Slot] = {}
    for name, original in original_names(shapes, RULES[segmenter.family]).items():
        if segmenter.family == "sam2" and name == sam2.POINTS:
            for row in range(shapes[name][0]):
                key = f"{sam2.ORIGINAL_POINTS}.{row}.weight"
                originals[key] = Slot(name, row, (1, *shapes[name][1:]))
        else:
            originals[original] = own[name]
    # (The names of video tensors may be the same in both, so they do not tell.)
    return own if any(n in shapes and n not in originals for n in given) else originals


def is_unused(name: str) -> bool:
    """Whether the name is that of a tensor in original checkpoints which no image needs."""
    return bool(UNUSED.search(name) or sam2.UNUSED.search(name))


def _twins(name: str) -> tuple[str, ...]:
    """Returns the names under which transformers' files store one and the same tensor."""
    places = (
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.shared_embedding.positional_embedding",
    )
    return places if name in places else (name,)


def _told(message: str) -> list[str]:
    """Returns the tensors that the engine's message names as missing."""
    found = MISSING.search(message)
    return [name.strip() for name in found[1].split(",") if name.strip()] if found else []


def _original(name: str, weights: Mapping[str, Any]) -> str:
    """Returns the name in the original checkpoint of the tensor that transformers calls `name`."""
    family = next(f for f in FAMILIES if f.recognises(weights))
    if family is sam2 and name.startswith("prompt_encoder.point_embeddings."):
        return f"sam_{name}"
    beside = [name]
    if chain := re.match(r"(.+)\.(?:proj_in|proj_out|layers\.\d+)\.(?:weight|bias)$", name):
        stem = next(iter(renamed({chain[1]: None}, family.ORIGINAL_RULES)))
        linears = depth(dict(weights), f"{stem}.layers")
        beside += [f"{chain[1]}.layers.{i}.weight" for i in range(linears - 2)]
        beside.append(f"{chain[1]}.proj_in.weight")
    return original_names(beside, family.ORIGINAL_RULES)[name]
