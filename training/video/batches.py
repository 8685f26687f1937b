"""Batches of clips with prompts."""

from dataclasses import dataclass

import numpy as np
import torch

from ..prompts import box_of, inside, near


@dataclass
class Plan:
    """What one step trains: clips x objects on `frames` frames; prompt: "click", "points", "box" or
    "mask"."""

    clips: int
    objects: int
    frames: int
    prompt: str


@dataclass
class Batch:
    """frames (T, B, S, S, 3) uint8; masks (T, N, S, S) bool with N = B x objects, the objects of
    one clip side by side; points (N, K, 2) float32 pixels and labels (N, K) int32, which are unused
    where the prompt is a mask."""

    frames: torch.Tensor
    masks: torch.Tensor
    points: torch.Tensor
    labels: torch.Tensor
    prompt: str

    def clip_of(self):
        """(N,) the clip of each object."""
        clips = self.frames.shape[1]
        return torch.arange(clips).repeat_interleave(self.masks.shape[1] // clips)


def prompts_for(rng, mask, prompt):
    """Points (K, 2) and labels (K,) for a bool mask: one click, a box (its corners with labels 2
    and 3), or a click and one more point inside or near the object."""
    if prompt == "box":
        return box_of(rng, mask, rng.random() < 0.4).reshape(2, 2), [2, 3]
    points, labels = [inside(rng, mask, rng.random() < 0.5)], [1]
    if prompt == "points":
        other = near(rng, mask, mask.shape) if rng.random() < 0.5 else None
        points.append(other or inside(rng, mask, False))
        labels.append(0 if other else 1)
    return np.array(points), labels


def batch_at(maker, seed, step, plan):
    """The batch of one step, from (seed, step, plan) and the files alone. seed: a tuple."""
    rng = np.random.default_rng((*seed, step))
    clips = [maker.clip(rng, plan.frames, plan.objects) for _ in range(plan.clips)]
    frames = np.stack([clip.frames for clip in clips], 1)
    masks = np.concatenate([clip.masks for clip in clips], 1)
    asked = [prompts_for(rng, mask, plan.prompt) for mask in masks[0]]
    points = np.stack([points for points, _ in asked]).astype(np.float32)
    labels = np.array([labels for _, labels in asked], np.int32)
    return Batch(*map(torch.from_numpy, (frames, masks, points, labels)), plan.prompt)
