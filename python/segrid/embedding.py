"""One encoded image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segrid._files import atomic_write
from segrid._native import CorruptFileError

if TYPE_CHECKING:
    from segrid import _core
    from segrid.segmenter import Segmenter


class Embedding:
    """An encoded image, the result of :meth:`Segmenter.encode`: an immutable value that is hashed
    by its content and that many threads may use. It can be pickled (a process pool may return it),
    and no model is needed to unpickle it.

    Attributes
    ----------
    image_size : (H, W) of the original image, pixels
    features : (1, C, h, w) float32, read-only (segment-anything's and sam2's
        ``get_image_embedding()``). It is a view of the engine's memory, except for SAM 2, where
        the "no memory" embedding is added on each access.
    high_res_features : views like `features` of SAM 2's finer levels, the finest first; empty for
        other families
    model_id : identifies the weights that made it
    """

    def __init__(self, source: _core.Embedding | _Stored) -> None:
        self._source = source

    @property
    def image_size(self) -> tuple[int, int]:
        return self._source.image_size

    @property
    def features(self) -> NDArray[np.float32]:
        return self._source.features[0]

    @property
    def high_res_features(self) -> tuple[NDArray[np.float32], ...]:
        return self._source.own_features[1:]

    @property
    def model_id(self) -> str:
        return self._source.model_id

    @property
    def nbytes(self) -> int:
        """The memory that it holds, bytes: the features, and what the decoder derived of them."""
        source = self._source
        if isinstance(source, _Stored):
            return sum(f.nbytes for f in source.own_features)
        return source.nbytes

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

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles the encoder's own features, the image size and the model id."""
        features = [_token_by_token(f) for f in self._source.own_features]
        return _unpickled, (self.image_size, features, self.model_id, self._source.no_memory)

    def __copy__(self) -> Embedding:
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, object]) -> Embedding:
        return self

    def __repr__(self) -> str:
        h, w = self.image_size
        shape = tuple(self.features.shape)
        return f"Embedding(image {h} x {w}, features {shape}, model {self.model_id})"

    def in_engine(self, engine: _core.Segmenter) -> _core.Embedding:
        """The engine's embedding, which an unpickled one becomes here, once.

        It serves segrid itself. Raises ValueError where the features are another model's.
        """
        source = self._source
        if isinstance(source, _Stored):
            source = engine.restore(
                source.image_size, source.own_features, source.model_id, source.no_memory is None
            )
            self._source = source
        return source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the embedding to a .npz file, which appears when it is complete. Raises OSError.

        The file holds the encoder's own features (`features`, `high_res_0`, ...), the image size,
        the model id and `no_memory_added`. For SAM 2 the features are those before the "no memory"
        embedding is added, except where they came from :meth:`of`. It holds no pickled objects.
        """
        image_tokens, *high_res = self._source.own_features
        arrays: dict[str, Any] = {f"high_res_{i}": f for i, f in enumerate(high_res)}
        arrays |= {
            "features": image_tokens,
            "image_size": np.asarray(self.image_size, np.int64),
            "model_id": np.asarray(self.model_id),
            "no_memory_added": np.asarray(self._source.no_memory is None),
        }
        with atomic_write(path) as part, open(part, "wb") as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike[str], model: Segmenter) -> Embedding:
        """Reads a file that :meth:`save` wrote.

        model : has the weights that made the embedding

        Raises ValueError for another model, FileNotFoundError, and CorruptFileError for any other
        file, also for one of an older segrid, which stored other features.
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
        except Exception as error:  # zipfile.BadZipFile and errors of zlib
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding ({error})") from error
        if size.shape != (2,) or any(
            f.dtype != np.float32 or f.ndim != 4 or not np.isfinite(f).all() for f in features
        ):
            held = [(f.dtype.name, f.shape) for f in features]
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding (features {held})")
        if no_memory_added is None:
            raise CorruptFileError(
                f"{os.fspath(path)}: an embedding of an older segrid, which does not say whether "
                "its features hold SAM 2's 'no memory' embedding; encode the image again"
            )
        if no_memory_added.dtype != bool or no_memory_added.shape != ():
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding (no_memory_added)")
        image_size = (int(size[0]), int(size[1]))
        return model.restore(image_size, features, name, no_memory_added=bool(no_memory_added))

    @staticmethod
    def of(
        model: Segmenter, image_size: tuple[int, int], features: Sequence[ArrayLike]
    ) -> Embedding:
        """An embedding of features that `model` made earlier and that were kept elsewhere.

        image_size : (H, W) of the original image; prompts and masks are in its pixels
        features : `features`, then `high_res_features`, of any float dtype; they are copied. For
            SAM 2 `features` holds the "no memory" embedding, as the attribute does.

        Raises ValueError for shapes that this model does not have, NaN and Inf. It cannot check
        that this model made the features. Source: micro_sam.util.set_precomputed.
        """
        arrays = [np.ascontiguousarray(f, np.float32) for f in features]
        if not all(np.isfinite(a).all() for a in arrays):
            raise ValueError("features: hold NaN or Inf")
        size = (int(image_size[0]), int(image_size[1]))
        return model.restore(size, arrays, model.model_id, no_memory_added=True)


class _Stored(NamedTuple):
    """The content of an unpickled embedding until a model uses it, with the engine's attributes."""

    image_size: tuple[int, int]
    own_features: tuple[NDArray[np.float32], ...]  # (1, C, h, w), read-only
    model_id: str
    no_memory: NDArray[np.float32] | None  # (C,), which `features` contains and these do not

    @property
    def features(self) -> tuple[NDArray[np.float32], ...]:
        if self.no_memory is None:
            return self.own_features
        image_tokens = _read_only(self.own_features[0] + self.no_memory[:, None, None])
        return (image_tokens, *self.own_features[1:])


def _token_by_token(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, h, w, C) of (1, C, h, w). The engine stores features so: the result is a view of them."""
    return np.ascontiguousarray(features.transpose(0, 2, 3, 1))


def _same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return np.array_equal(_token_by_token(a).view(np.uint32), _token_by_token(b).view(np.uint32))


def _read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array.flags.writeable = False
    return array


def _unpickled(image_size: Any, features: Any, model_id: Any, no_memory: Any) -> Embedding:
    valid = all(
        isinstance(f, np.ndarray) and f.dtype == np.float32 and f.ndim == 4 for f in features
    )
    if not features or not valid or len(image_size) != 2 or not isinstance(model_id, str):
        raise CorruptFileError("embedding: the pickle is damaged; encode the image again")
    channels = features[0].shape[-1]
    if no_memory is not None and getattr(no_memory, "shape", ()) != (channels,):
        raise CorruptFileError("embedding: the pickle is damaged; encode the image again")
    views = tuple(_read_only(f.transpose(0, 3, 1, 2)) for f in features)
    size = (int(image_size[0]), int(image_size[1]))
    return Embedding(_Stored(size, views, model_id, no_memory))
