"""Lets each pixel of a frame belong to one object at most."""

from __future__ import annotations

from typing import Any


def without_overlap(logits: Any) -> Any:
    """Lowers (N, 1, H, W) logits of N objects to at most -10 where another object's is higher.

    Source: sam2.SAM2Base._apply_non_overlapping_constraints, which transformers has, too."""
    import torch

    if len(logits) == 1:
        return logits
    objects = torch.arange(len(logits), device=logits.device)[:, None, None, None]
    is_highest = logits.argmax(dim=0, keepdim=True) == objects
    return torch.where(is_highest, logits, logits.clamp(max=-10.0))
