"""V-JEPA 2's choice of frames, which SOWLv2 uses for videos."""

from __future__ import annotations

from typing import Any


class VJepa2VideoOptimizer:
    """Raises NotImplementedError when constructed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(
            "VJepa2VideoOptimizer: segrid has no V-JEPA 2; process_video detects in the first "
            "frame, or in several with use_temporal_detection"
        )


def create_vjepa2_optimizer(config: Any, enable_vjepa2: bool = True) -> None:
    """Returns None, as the original does if V-JEPA 2 is missing, and prints a line if it was
    requested."""
    if enable_vjepa2:
        print("V-JEPA 2 optimization not available, falling back to standard processing")
