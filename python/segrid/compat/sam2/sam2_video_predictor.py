"""SAM2VideoPredictor, which needs segrid's tracker and raises until there is one."""

from __future__ import annotations

from typing import Any

from segrid.compat.video import not_yet


class SAM2VideoPredictor:
    """Raises NotImplementedError when constructed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        not_yet(type(self).__name__)

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
        """Raises NotImplementedError."""
        not_yet(f"{cls.__name__}.from_pretrained")


class SAM2VideoPredictorVOS(SAM2VideoPredictor):
    """Raises NotImplementedError when constructed."""
