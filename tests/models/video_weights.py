"""Random weights that track: what makes a random SAM 2 video model well conditioned.

With plain random weights every object gets nearly the same mask on a tracked frame, because the
image outweighs the memory of it, and the object score hardly varies. More weight on the memory
amplifies rounding from frame to frame until two implementations part. The settings, all here:

- STRONGER multiplies weights so that memory counts. The biases of the mask downsampler keep its
  first LayerNorms, which are over four channels, from turning a mask's soft border into a step:
  without them the rounding of one frame is ten times as large on the next.
- Logits of masks have a deviation of 8 and predicted IoUs are spread, as for images
  (`seeded_weights.spread`).
- The object score's last layer looks at what varies most while objects are tracked
  (`_look_at_what_varies`), has a deviation of 3, and is below 0 for a fifth to two fifths of the
  frames: such objects are lost, and found again."""

import re

import numpy as np
import torch

from tests.models import seeded_weights

STRONGER = {
    r"memory_attention.*\.cross_attn_image\.q_proj\.weight": 2,  # sharper: a few tokens count
    r"memory_attention.*\.cross_attn_image\.o_proj\.weight": 2,  # against the image's own features
    r"memory_encoder\.mask_downsampler\.layers\.0\.conv\.bias": 50,
    r"memory_encoder\.mask_downsampler\.layers\.[1-9]\.conv\.bias": 10,
    r"memory_encoder\.mask_downsampler\.final_conv\.weight": 8,  # the mask against the image
    r"mask_decoder\.transformer.*token_to_image.*\.q_proj\.weight": 2,  # tokens see places
}
OBJECTS = 2  # of the clip that settings are measured on
ENOUGH = 8  # frames, for a deviation of scores
LOST = (0.2, 0.4)  # the part of tracked frames on which a score is below 0


@torch.no_grad()
def calibrate(model, frames):
    """Sets what the module's docstring says in transformers' `model`.

    frames : of the clip that outputs are measured on. With none, weights are only made to show
        each part of the memory; with few, objects are never lost, because a deviation of scores
        needs many"""
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(
        model.shared_image_embedding.positional_embedding
    )
    for block in model.memory_encoder.memory_fuser.layers:
        block.scale.fill_(0.5)  # its initial 1e-6 would hide the block
    if frames == 0:
        return
    for name, p in model.named_parameters():
        for pattern, times in STRONGER.items():
            if re.fullmatch(pattern, name):
                p.mul_(times)
    head = model.mask_decoder.pred_obj_score_head.proj_out
    head.bias.fill_(10)  # every object appears while the rest is set
    take = model.mask_decoder.register_forward_hook
    outputs = _seen(model, frames, take, lambda _, __, out: out[:2])
    masks, ious = (torch.cat([out[i] for out in outputs]) for i in range(2))
    seeded_weights.spread(model, masks, torch.logit(ious.clamp(1e-6, 1 - 1e-6)), 1.5, 0.6)
    if frames >= ENOUGH:
        for _ in range(3):  # objects that are lost change what is remembered, and so the scores
            _look_at_what_varies(model, frames, head)


def _look_at_what_varies(model, frames, head):
    """Sets the last layer of the object score from its inputs on a clip: the direction in which
    those of tracked frames vary most, without the one that tells clicks from tracking."""
    take = head.register_forward_pre_hook
    inputs = _seen(model, frames, take, lambda _, given: given[0].reshape(-1))
    clicks, tracked = torch.stack(inputs[:OBJECTS]), torch.stack(inputs[OBJECTS:])
    apart = clicks.mean(0) - tracked.mean(0)
    apart /= apart.norm()
    centred = tracked - tracked.mean(0)
    centred -= torch.outer(centred @ apart, apart)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    direction *= torch.sign(direction[direction.abs().argmax()])
    values = tracked @ direction
    head.weight.copy_(3 / values.std() * direction)
    head.bias.copy_(-3 / values.std() * _gap(values))


def _gap(values):
    """The middle of the widest gap between values in the part `LOST`, so that rounding does not
    decide which objects are lost."""
    rising = np.sort(values.numpy())
    first, last = (int(part * len(rising)) for part in LOST)
    below = first + int(np.argmax(np.diff(rising[first : last + 1])))
    return float(rising[below] + rising[below + 1]) / 2


def _seen(model, frames, hook, take):
    """What `take` finds in the arguments of a hook while OBJECTS objects are clicked on the first
    frame of a clip, then tracked: one entry for each click, then for each object and frame."""
    from tests.tracking import clip, with_transformers
    from tests.tracking.steps import Add, Propagate

    side, seen = model.image_size, []
    steps = [Add(i, points=(clip.place(i, 0, frames, side, side)[:2],)) for i in range(OBJECTS)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if side <= 256 else threads)  # small models lose by more than one
    hooked = hook(lambda *given: seen.append(take(*given)))
    try:
        for _ in with_transformers.carry_out(
            model, clip.blobs(frames, side, side), [*steps, Propagate()]
        ):
            pass
    finally:
        hooked.remove()
        torch.set_num_threads(threads)
    return seen
