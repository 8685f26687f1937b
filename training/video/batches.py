"""Batches of clips with prompts, and the process that makes them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.multiprocessing as mp

from ..prompts import box_of, inside, near
from .clips import Maker


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
    """frames (T, B, S, S, 3) uint8; masks (T, N, S, S) bool with N = B x objects, the objects of one
    clip side by side; points (N, K, 2) float32 pixels and labels (N, K) int32, which are unused
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
    """The batch of one step, from (seed, step, plan) and the files alone."""
    rng = np.random.default_rng((seed, step))
    clips = [maker.clip(rng, plan.frames, plan.objects) for _ in range(plan.clips)]
    frames = np.stack([clip.frames for clip in clips], 1)
    masks = np.concatenate([clip.masks for clip in clips], 1)
    asked = [prompts_for(rng, mask, plan.prompt) for mask in masks[0]]
    points = np.stack([points for points, _ in asked]).astype(np.float32)
    labels = np.array([labels for _, labels in asked], np.int32)
    return Batch(*map(torch.from_numpy, (frames, masks, points, labels)), plan.prompt)


def wait_while(file):
    """Returns when `file` does not exist; the seconds waited."""
    begin = time.monotonic()
    while Path(file).exists():
        time.sleep(0.5)
    return time.monotonic() - begin


def _produce(asked, made, root, seed, pause):
    """The loop of the loader process."""
    os.nice(max(0, 19 - os.nice(0)))
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    maker = Maker(root)
    while True:
        step, plan = asked.get()
        wait_while(pause)
        made.put((step, batch_at(maker, seed, step, plan)))


class Loader:
    """Batches made by another process, a few steps ahead. plan_at(step) -> Plan."""

    def __init__(self, root, seed, first, plan_at, pause, ahead=4):
        context = mp.get_context("spawn")
        self.asked, self.made = context.Queue(), context.Queue(maxsize=ahead)
        self.plan_at, self.next_step = plan_at, first
        self.process = context.Process(
            target=_produce, args=(self.asked, self.made, root, seed, str(pause)), daemon=True
        )
        self.process.start()
        for _ in range(ahead):
            self._ask()

    def _ask(self):
        self.asked.put((self.next_step, self.plan_at(self.next_step)))
        self.next_step += 1

    def next(self):
        """The next Batch."""
        self._ask()
        return self.made.get()[1]

    def close(self):
        """Ends the process."""
        self.process.terminate()
