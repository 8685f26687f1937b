"""The calls of a torch module that scripts make, for the drop-ins' models and their parts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from segrid._native import CorruptFileError
from segrid.compat.checkpoints import weights_of
from segrid.compat.devices import named
from segrid.compat.state_dicts import MissingTensors, Slot, is_unused, load_over, load_whole, slots
from segrid.segmenter import Segmenter

AnyModule = TypeVar("AnyModule", bound="Module")
Self = TypeVar("Self", bound="Model")
AnyModel = TypeVar("AnyModel", bound="Model")


# The ends of the names of tensors that are buffers: the originals', and transformers'.
BUFFERS = (
    "positional_encoding_gaussian_matrix",
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)


def uncompiled(value: Any) -> Any:
    """Returns the module from which torch.compile made this function: there is nothing to compile.
    Returns anything else unchanged."""
    inner = inspect.unwrap(value) if inspect.isfunction(value) else value
    return inner if isinstance(inner, Module) else value


class Keys(NamedTuple):
    """The fields of `LoadedKeys`."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class LoadedKeys(Keys):
    """The result of `load_state_dict`, as torch's."""

    def __repr__(self) -> str:
        return super().__repr__() if any(self) else "<All keys matched successfully>"

    __str__ = __repr__


class Module:
    """The calls of a torch.nn.Module that inference scripts make. Nothing here trains."""

    training = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`. Where torch.compile may have made a function of it, it runs as it is."""
        if "torch._dynamo" not in sys.modules:
            return self.forward(*args, **kwargs)
        import torch

        return torch.compiler.disable(self.forward)(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, uncompiled(value))

    def forward(self, *_: Any, **__: Any) -> Any:
        """Raises NotImplementedError: this part cannot be called alone."""
        raise NotImplementedError(f"{type(self).__name__}: segrid cannot call this part alone")

    def eval(self: AnyModule) -> AnyModule:
        """Does nothing; the model is always ready."""
        return self

    def compile(self, *_: Any, **__: Any) -> None:
        """Does nothing; the engine is compiled already."""

    def train(self: AnyModule, mode: bool = True) -> AnyModule:
        """Raises NotImplementedError for mode=True."""
        return self._untrained("train", mode)

    def requires_grad_(self: AnyModule, requires_grad: bool = True) -> AnyModule:
        """Raises NotImplementedError for requires_grad=True."""
        return self._untrained("requires_grad_", requires_grad)

    def _untrained(self: AnyModule, call: str, asked: bool) -> AnyModule:
        if asked:
            raise NotImplementedError(
                f"{type(self).__name__}.{call}(True): segrid does not train; "
                "use the original library for that"
            )
        return self

    def _weights(self) -> Iterator[tuple[str, Any]]:
        """Yields (name, tensor on its device) of each weight, read one by one."""
        raise NotImplementedError

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Yields (name, torch.nn.Parameter without gradient) of each weight, read one by one.
        Raises NotImplementedError for recurse=False."""
        import torch

        if not recurse:
            raise self._lacks("named_parameters(recurse=False)", "it has no layers of its own")
        for name, tensor in self._weights():
            if not name.endswith(BUFFERS):
                named = f"{prefix}.{name}" if prefix else name
                yield named, torch.nn.Parameter(tensor, requires_grad=False)

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Yields a torch.nn.Parameter of each weight, read one by one."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def state_dict(self) -> dict[str, Any]:
        """Name -> tensor."""
        return dict(self._weights())

    def buffers(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Raises NotImplementedError: segrid holds no torch buffers."""
        raise self._lacks("buffers", "read state_dict()")

    def named_buffers(self, *_: Any, **__: Any) -> Iterator[tuple[str, Any]]:
        """Raises NotImplementedError: segrid holds no torch buffers."""
        raise self._lacks("named_buffers", "read state_dict()")

    def apply(self: AnyModule, *_: Any, **__: Any) -> AnyModule:
        """Raises NotImplementedError: there are no torch modules to apply it to."""
        raise self._lacks("apply", "change tensors of state_dict() and load_state_dict() them")

    def _lacks(self, call: str, instead: str) -> NotImplementedError:
        return NotImplementedError(
            f"{type(self).__name__}.{call}: this is not a torch.nn.Module; {instead}"
        )

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Its parts by name."""
        return (
            (name, part)
            for name, part in vars(self).items()
            if isinstance(part, Module) and not name.startswith("_")
        )

    def children(self) -> Iterator[Module]:
        """Its parts."""
        return (part for _, part in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yields this module, its parts, and their parts, by name."""
        yield prefix, self
        for name, part in self.named_children():
            yield from part.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """Yields this module, its parts, and their parts."""
        return (part for _, part in self.named_modules())


class Model(Module):
    """The model of a drop-in: a Segmenter that can move to another device or precision, and that
    may get its weights later (`load_state_dict`).

    The tensors of `parameters`, `state_dict` and the like are copies, read from the model's file.
    Writing into them changes nothing; pass them to `load_state_dict` instead. Their names are the
    original's for segment_anything and MobileSAM, and transformers' for SAM 2."""

    # The beginnings of names in an original checkpoint, if they are known.
    roots: tuple[str, ...] = ()
    kind: Any = Segmenter  # the class that computes

    def __init__(self, segmenter: Segmenter | None, device: str = "cpu") -> None:
        self._segmenter = segmenter
        self._wanted = device if segmenter is None else segmenter.device, "fp32"

    @property
    def segmenter(self) -> Segmenter:
        """The Segmenter. Raises RuntimeError while the model has no weights."""
        if self._segmenter is None:
            raise RuntimeError(
                f"{type(self).__name__}: it has no weights yet; give a checkpoint "
                "where it is built, or call load_state_dict first (segrid has no "
                "random weights)"
            )
        return self._segmenter

    @property
    def has_weights(self) -> bool:
        """Whether the model has weights and can be called."""
        return self._segmenter is not None

    @property
    def device(self) -> Any:
        """The torch.device on which the model runs."""
        import torch

        return torch.device(self._wanted[0].removesuffix("-plain"))

    @property
    def dtype(self) -> Any:
        """The torch.dtype of the weights that the model computes with."""
        import torch

        precision = self._wanted[1] if self._segmenter is None else self._segmenter.precision
        return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Moves the model, as torch does, to a device, a dtype, or both. Raises NotImplementedError
        for a device that does not exist or that lacks the precision.

        float16 and bfloat16 need CUDA. On the CPU the model stays in float32, which `dtype`
        reports; its results are at least as close to the original's."""
        self._move(*self._asked(args, kwargs))
        return self

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
        """Returns the device and the precision that these arguments of `to` request."""
        import torch

        precisions = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
        device, precision = self._wanted
        for value in (*args[:2], kwargs.get("device"), kwargs.get("dtype")):
            if isinstance(value, torch.dtype):
                if value not in precisions:
                    raise NotImplementedError(
                        f"{type(self).__name__}.to({value}): segrid has "
                        "float32, and on CUDA float16 and bfloat16"
                    )
                precision = precisions[value]
            elif isinstance(value, (str, torch.device)) or type(value) is int:
                device = named(value)
        return device, precision

    def _move(self, device: str, precision: str) -> None:
        if self._segmenter is not None:
            self._segmenter = self._segmenter.to(device, "fp32" if device == "cpu" else precision)
            device = self._segmenter.device
        self._wanted = device, precision

    def _in(self: Self, precision: str) -> Self:
        self._move(self._wanted[0], precision)
        return self

    def cpu(self: Self) -> Self:
        """Moves the model to the CPU."""
        return self.to("cpu")

    def cuda(self: Self, device: Any = None) -> Self:
        """Moves the model to CUDA. Raises NotImplementedError if there is no CUDA device."""
        return self.to("cuda" if device is None else device)

    def half(self: Self) -> Self:
        """Computes in float16 if the model runs on CUDA; see `to`."""
        return self._in("fp16")

    def bfloat16(self: Self) -> Self:
        """Computes in bfloat16 if the model runs on CUDA; see `to`."""
        return self._in("bf16")

    def float(self: Self) -> Self:
        """float32."""
        return self._in("fp32")

    def _weights(self, beginning: str = "") -> Iterator[tuple[str, Any]]:
        for name, tensor in weights_of(self.segmenter, beginning):
            yield name, tensor.to(device=self.device, dtype=self.dtype)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> LoadedKeys:
        """Loads weights, by the names of the original checkpoint (as `torch.load` returns it) or by
        the names that `state_dict` returns.

        With strict=False, missing tensors keep their values if the model has weights already, and
        unknown names are ignored; both are returned. Raises RuntimeError for names or shapes that
        do not fit, and NotImplementedError for another architecture."""
        given, before = dict(state_dict), self._segmenter
        places = {} if before is None else slots(before, given)
        unexpected = [name for name in given if self._is_unexpected(name, places)]
        missing = [name for name in places if name not in given]
        wrong = [*_listed("Missing", missing), *_listed("Unexpected", unexpected)] if strict else []
        wrong += [
            f"size mismatch for {name}: copying a param with shape {given[name].shape} from "
            f"checkpoint, the shape in current model is torch.Size({list(slot.shape)})."
            for name, slot in places.items()
            if name in given and tuple(given[name].shape) != slot.shape
        ]
        try:
            if before is None and not wrong:
                known = {name: t for name, t in given.items() if name not in unexpected}
                self._segmenter = load_whole(known, self.kind)
            elif before is not None and not wrong:
                known = {name: tensor for name, tensor in given.items() if name in places}
                self._segmenter = load_over(before, known, places)
        except MissingTensors as error:
            wrong += _listed("Missing", error.names)
        except CorruptFileError as error:
            wrong.append(str(error))
        if wrong:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                + "\n\t".join(wrong)
            )
        self._move(*self._wanted)
        return LoadedKeys(missing, unexpected)

    def _is_unexpected(self, name: str, places: Mapping[str, Slot]) -> bool:
        if name in places:
            return False
        if self.roots and name.split(".")[0] not in self.roots:
            return True
        return bool(places) and not is_unused(name)


def checked(model: AnyModel, kind: type[AnyModel], taker: str, builder: str) -> AnyModel:
    """Returns the model that a predictor is given, also where torch.compile made a function of it.
    Raises TypeError for the original library's model.

    taker, builder : of the model, for the message"""
    model = uncompiled(model)
    if isinstance(model, kind):
        return model
    raise TypeError(
        f"{taker}: expected a model of segrid, got a {type(model).__module__}."
        f"{type(model).__qualname__}; build the model by {builder}"
    )


def _listed(what: str, names: list[str]) -> list[str]:
    quoted = ", ".join(f'"{name}"' for name in names)
    return [f"{what} key(s) in state_dict: {quoted}. "] if names else []
