"""One encoded image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segrid._files import whole
from segrid._native import CorruptFileError

if TYPE_CHECKING:
    from segrid.segmenter import Segmenter


class Embedding:
    """What :meth:`Segmenter.encode` returns: an immutable value, hashable by content, usable from
    many threads. It pickles (a process pool may return it) and loads where no model is.

    Attributes
    ----------
    image_size : (H, W) of the original image, pixels
    features : (1, C, h, w) float32, read-only (segment-anything's and sam2's
        ``get_image_embedding()``). It is a view of the engine's memory, except for SAM 2, where
        the "no memory" embedding is added on each access.
    high_res_features : SAM 2's, finest first, views like `features`; empty for other families
    model_id : identifies the weights that made it
    """

    def __init__(self, source: Any) -> None:
        self._source = source  # the engine's embedding, or `_Stored`

    @property
    def image_size(self) -> tuple[int, int]:
        return self._source.image_size

    @property
    def features(self) -> np.ndarray:
        return self._source.features[0]

    @property
    def high_res_features(self) -> tuple[np.ndarray, ...]:
        return self._source.own_features[1:]

    @property
    def model_id(self) -> str:
        return self._source.model_id

    def __hash__(self) -> int:
        digest = blake2b(repr((self.image_size, self.model_id)).encode(), digest_size=8)
        for features in self._source.features:
            digest.update(_token_by_token(features).data)
        return int.from_bytes(digest.digest(), "little")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedding):
            return NotImplemented
        mine, theirs = self._source, other._source
        return mine is theirs or (
            mine.model_id == theirs.model_id
            and mine.image_size == theirs.image_size
            and len(mine.features) == len(theirs.features)
            and all(map(_same_bits, mine.features, theirs.features))
        )

    def __reduce__(self) -> Any:
        """Pickles the features and what they belong to; no model is needed to load them."""
        features = [_token_by_token(f) for f in self._source.own_features]
        return _unpickled, (self.image_size, features, self.model_id, self._source.no_memory)

    def __copy__(self) -> Embedding:
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, Any]) -> Embedding:
        return self

    def __repr__(self) -> str:
        h, w = self.image_size
        shape = tuple(self.features.shape)
        return f"Embedding(image {h} x {w}, features {shape}, model {self.model_id})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the embedding to a .npz file, completely or not at all. Raises OSError.

        The file holds the encoder's own features (`features` and `high_res_0`, ...), which for
        SAM 2 are those before the "no memory" embedding is added, the image size, the model id,
        and `no_memory_added`: 1 where the features came from :meth:`of` and hold it already. It
        holds no pickled objects.
        """
        image_tokens, *high_res = self._source.own_features
        arrays: dict[str, Any] = {f"high_res_{i}": f for i, f in enumerate(high_res)}
        arrays |= {
            "features": image_tokens,
            "image_size": np.asarray(self.image_size, np.int64),
            "model_id": np.asarray(self.model_id),
            "no_memory_added": np.asarray(self._source.no_memory is None),
        }
        with whole(path) as part, open(part, "wb") as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike[str], model: Segmenter) -> Embedding:
        """Reads what :meth:`save` wrote. `model` must have the weights that made it, else
        ValueError.

        Raises FileNotFoundError, and CorruptFileError when the file is something else or was
        written by a version of segrid that stored other features.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                high = sorted(k for k in file.files if k.startswith("high_res_"))
                features = [file[k] for k in ("features", *high)]
                size, name = file["image_size"], str(file["model_id"])
                no_memory_added = file["no_memory_added"] if "no_memory_added" in file else None
        except (ValueError, KeyError, EOFError, OSError) as error:
            if isinstance(error, (FileNotFoundError, IsADirectoryError, PermissionError)):
                raise
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding ({error})") from error
        except MemoryError:
            raise
        except Exception as error:  # zipfile.BadZipFile and what zlib raises
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding ({error})") from error
        if size.shape != (2,) or any(
            f.dtype != np.float32 or f.ndim != 4 or not np.isfinite(f).all() for f in features
        ):
            held = [(f.dtype.name, f.shape) for f in features]
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding (features {held})")
        if no_memory_added is not None and (
            no_memory_added.dtype != bool or no_memory_added.shape != ()
        ):
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding (no_memory_added)")
        if no_memory_added is None:
            raise CorruptFileError(
                f"{os.fspath(path)}: an embedding of an older segrid, which does not say whether "
                "its features hold SAM 2's 'no memory' embedding; encode the image again"
            )
        return Embedding(
            model._engine.restore(
                (int(size[0]), int(size[1])), features, name, bool(no_memory_added)
            )
        )

    @staticmethod
    def of(model: Segmenter, image_size: tuple[int, int], features: Sequence[Any]) -> Embedding:
        """An embedding of features that `model` made earlier and that were kept elsewhere.

        image_size : (H, W) of the original image, in whose pixels prompts and masks are
        features : `features`, then `high_res_features`, of any float dtype; they are copied. For
            SAM 2 `features` holds the "no memory" embedding, as the attribute does.

        Raises ValueError for other shapes than this model's, NaN and Inf. That this model made them
        cannot be checked. Source: micro_sam.util.set_precomputed.
        """
        arrays = [np.ascontiguousarray(f, np.float32) for f in features]
        if not all(np.isfinite(a).all() for a in arrays):
            raise ValueError("features: hold NaN or Inf")
        return Embedding(
            model._engine.restore(
                (int(image_size[0]), int(image_size[1])), arrays, model._engine.model_id, True
            )
        )


def native(image_or_embedding: Any, engine: Any) -> Any:
    """The engine's object of an Embedding, else None. One that was unpickled becomes the engine's
    here, once. Raises ValueError where its features are another model's."""
    if not isinstance(image_or_embedding, Embedding):
        return None
    source = image_or_embedding._source
    if isinstance(source, _Stored):
        source = engine.restore(
            source.image_size, source.own_features, source.model_id, source.no_memory is None
        )
        image_or_embedding._source = source
    return source


class _Stored(NamedTuple):
    """What an unpickled embedding holds until a model uses it: as the engine's, without engine."""

    image_size: tuple[int, int]
    own_features: tuple[np.ndarray, ...]  # (1, C, h, w) float32, read-only
    model_id: str
    no_memory: np.ndarray | None  # (C,) float32: what `features` has beside

    @property
    def features(self) -> tuple[np.ndarray, ...]:
        if self.no_memory is None:
            return self.own_features
        image_tokens = _read_only(self.own_features[0] + self.no_memory[:, None, None])
        return (image_tokens, *self.own_features[1:])


def _token_by_token(features: np.ndarray) -> np.ndarray:
    """(1, h, w, C) of (1, C, h, w): as the engine stores them, so a view of its memory."""
    return np.ascontiguousarray(features.transpose(0, 2, 3, 1))


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(_token_by_token(a).view(np.uint32), _token_by_token(b).view(np.uint32))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _unpickled(image_size: Any, features: Any, model_id: Any, no_memory: Any) -> Embedding:
    whole = all(
        isinstance(f, np.ndarray) and f.dtype == np.float32 and f.ndim == 4 for f in features
    )
    if not features or not whole or len(image_size) != 2 or not isinstance(model_id, str):
        raise CorruptFileError("embedding: the pickle is damaged; encode the image again")
    channels = features[0].shape[-1]
    if no_memory is not None and getattr(no_memory, "shape", ()) != (channels,):
        raise CorruptFileError("embedding: the pickle is damaged; encode the image again")
    views = tuple(_read_only(f.transpose(0, 3, 1, 2)) for f in features)
    size = (int(image_size[0]), int(image_size[1]))
    return Embedding(_Stored(size, views, model_id, no_memory))
