"""Arrays of random numbers, and the same in float64."""

import numpy as np
import torch


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def double(a):
    return torch.from_numpy(a).double()
