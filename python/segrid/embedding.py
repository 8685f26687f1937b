"""One encoded image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segrid._files import whole
from segrid._native import CorruptFileError, _core

if TYPE_CHECKING:
    from segrid.segmenter import Segmenter


class Embedding:
    """What :meth:`Segmenter.encode` returns: an immutable value, hashable by content, usable from many threads.

    Attributes
    ----------
    image_size : (H, W) of the original image, pixels
    features : (1, C, h, w) float32, read-only view of the engine's memory (segment-anything's ``get_image_embedding()``)
    high_res_features : SAM 2's, finest first, views like `features`; empty for other families
    model_id : identifies the weights that made it
    """

    def __init__(self, native: Any) -> None:
        self._native = native

    @property
    def image_size(self) -> tuple[int, int]:
        return self._native.image_size

    @property
    def features(self) -> np.ndarray:
        return self._native.features[0]

    @property
    def high_res_features(self) -> tuple[np.ndarray, ...]:
        return self._native.features[1:]

    @property
    def model_id(self) -> str:
        return self._native.model_id

    def __hash__(self) -> int:
        return hash(self._native)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Embedding) and self._native == other._native

    def __repr__(self) -> str:
        h, w = self.image_size
        return f"Embedding(image {h} x {w}, features {tuple(self.features.shape)}, model {self.model_id})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the embedding to a .npz file (features, image size, model id; no pickled objects), whole or not at all. Raises OSError."""
        arrays: dict[str, Any] = {f"high_res_{i}": f for i, f in enumerate(self.high_res_features)}
        arrays |= {"features": self.features, "image_size": np.asarray(self.image_size, np.int64), "model_id": np.asarray(self.model_id)}
        with whole(path) as part, open(part, "wb") as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike[str], model: Segmenter) -> Embedding:
        """Reads what :meth:`save` wrote. `model` must have the weights that made it (ValueError else).

        Raises FileNotFoundError, and CorruptFileError when the file is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                high = sorted(k for k in file.files if k.startswith("high_res_"))
                features = [file[k] for k in ("features", *high)]
                size, name = file["image_size"], str(file["model_id"])
        except (ValueError, KeyError, EOFError, OSError) as error:
            if isinstance(error, (FileNotFoundError, IsADirectoryError, PermissionError)):
                raise
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding ({error})") from error
        except MemoryError:
            raise
        except Exception as error:  # zipfile.BadZipFile and what zlib raises
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding ({error})") from error
        if size.shape != (2,) or any(f.dtype != np.float32 or f.ndim != 4 or not np.isfinite(f).all() for f in features):
            raise CorruptFileError(f"{os.fspath(path)}: not a saved embedding (features {[(f.dtype.name, f.shape) for f in features]})")
        return Embedding(model._engine.restore((int(size[0]), int(size[1])), features, name))

    @staticmethod
    def of(model: Segmenter, image_size: tuple[int, int], features: Sequence[Any]) -> Embedding:
        """An embedding of features that `model` made earlier and that were kept elsewhere.

        image_size : (H, W) of the original image, in whose pixels prompts and masks are
        features : `features`, then `high_res_features`, of any float dtype; they are copied

        Raises ValueError for other shapes than this model's, NaN and Inf. That this model made them
        cannot be checked. Source: micro_sam.util.set_precomputed.
        """
        arrays = [np.ascontiguousarray(f, np.float32) for f in features]
        if not all(np.isfinite(a).all() for a in arrays):
            raise ValueError("features: hold NaN or Inf")
        return Embedding(model._engine.restore((int(image_size[0]), int(image_size[1])), arrays,
                                               model._engine.model_id))


def native(image_or_embedding: Any) -> Any:
    """The engine's object of an Embedding, else None."""
    if isinstance(image_or_embedding, Embedding):
        return image_or_embedding._native
    return image_or_embedding if isinstance(image_or_embedding, _core.Embedding) else None
