"""What objects remember of a clip, and how a frame's tokens attend to it, as Sam2VideoModel
computes it, on the model's own parameters.

The attention is written out for a CPU: rotary positions turn pairs of channels as complex numbers,
and a rotation is not repeated in memory for each remembered frame. Shapes: N objects, L image
tokens, C channels of a token, 64 of a memory."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe


@dataclass
class Remembered:
    """One frame in the bank: memory (L, N, 64) and pointer (N, C)."""

    memory: torch.Tensor
    pointer: torch.Tensor


@dataclass
class Bank:
    """What the objects of a batch remember: by frame, prompted frames apart from tracked ones.
    `length`: the number of frames of the whole video, by which ages of pointers are scaled."""

    length: int = 16
    prompted: dict = field(default_factory=dict)
    tracked: dict = field(default_factory=dict)


def _upscaled(model, logits):
    """(N, h, w) logits to (N, 1, S, S): bilinear, as two products, whose gradients are fast."""
    eye = torch.eye(logits.shape[-1])[None]
    spread = F.interpolate(eye, model.image_size, mode="linear", align_corners=False)[0].mT
    return (spread @ logits.float() @ spread.mT)[:, None]


def _small_mask(module, x):
    """The mask downsampler, with its norms over 4 to 256 channels written out: torch's gradient of
    a norm over so few values is slow."""
    for layer in module.layers:
        x = layer.conv(x)
        mean = x.mean(1, keepdim=True)
        x = x - mean
        x = x * (x.square().mean(1, keepdim=True) + layer.layer_norm.eps).rsqrt()
        weight, bias = layer.layer_norm.weight, layer.layer_norm.bias
        x = layer.activation(x * weight[:, None, None] + bias[:, None, None])
    return module.final_conv(x)


def remember(model, bank, frame, features, answer, present, prompted):
    """Stores the frame. present (N,) bool: whether the object is taken to be in the frame;
    prompted: the mask comes from a prompt, which inference makes binary."""
    logits = torch.where(present[:, None, None], answer.chosen, NO_OBJ_SCORE)
    store(model, bank, frame, features, _upscaled(model, logits), answer.pointer, present, prompted)


def store(model, bank, frame, features, logits, pointer, present, prompted):
    """As `remember`, with logits (N, 1, S, S) at the size of the frame."""
    c, dtype = model.config, features.tokens.dtype
    binary = prompted and not model.training
    mask = (logits > 0).float() if binary else logits.float().sigmoid()
    mask = (mask * c.sigmoid_scale_for_mem_enc + c.sigmoid_bias_for_mem_enc).to(dtype)
    encoder = model.memory_encoder
    fused = encoder.feature_projection(features.tokens) + _small_mask(
        encoder.mask_downsampler, mask
    )
    memory = encoder.projection(encoder.memory_fuser(fused))
    here = present.to(dtype)[:, None]
    absent = (1 - here) * model.occlusion_spatial_embedding_parameter
    memory = (memory + absent[..., None, None]).to(torch.bfloat16).flatten(2).permute(2, 0, 1)
    pointer = here * pointer + (1 - here) * model.no_object_pointer
    (bank.prompted if prompted else bank.tracked)[frame] = Remembered(memory.to(dtype), pointer)
    (bank.tracked if prompted else bank.prompted).pop(frame, None)


def _positions(model, shape, dtype):
    """Sine positions (L, 1, C) of a map with `shape`'s channels, rows and columns."""
    sine = model.memory_encoder.position_encoding
    return sine((1, *shape), "cpu", torch.float32).flatten(2).permute(2, 0, 1).to(dtype)


def condition(model, bank, frame, features):
    """Image tokens (N, C, g, g) of a frame after attention to the bank."""
    n, channels, g, _ = features.tokens.shape
    dtype, dim = features.tokens.dtype, model.mem_dim
    place = _positions(model, (dim, g, g), dtype)
    times = model.memory_temporal_positional_encoding
    found = [(0, entry) for entry in bank.prompted.values()]
    found += [
        (age, bank.tracked[frame - age])
        for age in range(model.num_maskmem - 1, 0, -1)
        if frame - age in bank.tracked
    ]
    memories = [entry.memory for _, entry in found]
    places = [(place + times[age - 1]).expand(-1, n, -1) for age, _ in found]

    most = min(bank.length, model.config.max_object_pointers_in_encoder)
    ages = [frame - index for index in bank.prompted if index <= frame]
    pointers = [bank.prompted[index].pointer for index in bank.prompted if index <= frame]
    for age in range(1, most):
        if frame - age in bank.tracked:
            ages.append(age)
            pointers.append(bank.tracked[frame - age].pointer)
    sine = get_1d_sine_pe(torch.tensor(ages, dtype=torch.float32) / float(most - 1), channels)
    aged = model.temporal_positional_encoding_projection_layer(sine.to(dtype))
    splits = channels // dim
    pointers = torch.stack(pointers).unflatten(-1, (splits, dim)).transpose(1, 2).flatten(0, 1)
    memories.append(pointers)
    places.append(aged.repeat_interleave(splits, 0)[:, None].expand(-1, n, -1))

    sine = model.vision_encoder.neck.position_encoding
    where = sine((1, channels, g, g), "cpu", torch.float32).flatten(2).mT.to(dtype)
    current = features.tokens.flatten(2).mT + 0.1 * where
    memory, place = torch.cat(memories).transpose(0, 1), torch.cat(places).transpose(0, 1)
    out = attend(model.memory_attention, current, memory, place, len(pointers))
    return out.mT.reshape(n, channels, g, g)


def turns(module, count):
    """(L, C/2) complex: the rotation of each pair of channels at each of `count` image tokens."""
    cos, sin = module.rotary_emb(torch.empty(0), module.position_ids)
    return torch.complex(cos[0, :count, ::2], sin[0, :count, ::2])


def rotated(x, turn):
    """(N, frames x L, C), each frame's tokens rotated by (L, C/2) complex."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    pairs = pairs.unflatten(1, (-1, len(turn))) * turn
    return torch.view_as_real(pairs).flatten(-2).flatten(1, 2).to(x.dtype)


def _attended(module, q, k, v):
    """Attention of one head and its projection."""
    if module.num_attention_heads != 1:
        raise ValueError("training needs a memory attention of one head")
    return module.o_proj(torch.bmm(torch.bmm(q * module.scaling, k.mT).softmax(-1), v))


def attend(module, x, memory, place, pointers):
    """The memory attention: x (N, L, C), memory and its positions (N, S, 64), of which the last
    `pointers` are pointers, which are not rotated."""
    turn = turns(module, x.shape[1])
    keys = memory + place
    for layer in module.layers:
        own = layer.self_attn
        q = layer.layer_norm1(x)
        k, v = rotated(own.k_proj(q), turn), own.v_proj(q)
        x = x + _attended(own, rotated(own.q_proj(q), turn), k, v)
        cross = layer.cross_attn_image
        q = rotated(cross.q_proj(layer.layer_norm2(x)), turn)
        k = cross.k_proj(keys)
        spatial = rotated(k[:, : k.shape[1] - pointers], turn)
        k = torch.cat([spatial, k[:, k.shape[1] - pointers :]], 1)
        x = x + _attended(cross, q, k, cross.v_proj(memory))
        x = x + layer.linear2(layer.activation(layer.linear1(layer.layer_norm3(x))))
    return module.layer_norm(x)
