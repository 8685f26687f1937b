"""The steps of Sam2VideoModel for many objects at once, with gradients.

transformers' own session follows one object at a time and cuts gradients off. Here every object of
every clip of a batch is a row, and all rows are prompted and corrected on the same frames. The
computation is that of the session, through the model's own submodules: `tests/training/test_video.py`
compares the masks. Shapes: N objects, M = 4 masks (the single one first), h x w low-resolution
pixels (64 x 64), L image tokens (16 x 16)."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe

from .encoder import encode


def _attend(module, query, key, value, attention_mask=None, scaling=1.0, dropout=0.0, **_):
    """softmax(q k) v as two products: on a CPU its gradient is three times faster than that of the
    fused attention at these sizes."""
    n, h, length, dim = query.shape
    weights = torch.bmm(
        (query * scaling).reshape(n * h, length, dim), key.reshape(n * h, -1, dim).mT
    ).softmax(-1)
    out = torch.bmm(weights, value.reshape(n * h, -1, value.shape[-1]))
    return out.view(n, h, length, -1).transpose(1, 2), None


AttentionInterface.register("segrid_training", _attend)


def prepare(model, dtype=torch.float32):
    """Sets the attention for training and the dtype of the weights. Positions stay in fp32: pixels
    of a frame of 256 are not exact in bf16."""
    model.set_attn_implementation("segrid_training")
    frequencies = model.shared_image_embedding.positional_embedding.float()
    model.to(dtype)
    for place in (model.shared_image_embedding, model.prompt_encoder.shared_embedding):
        place.positional_embedding = frequencies.clone()
    return model


@dataclass
class Answer:
    """The decoder's answer for N objects on one frame: masks (N, M, h, w) logits, iou (N, M) in
    0..1, score (N,) the logit of "the object is in the frame", chosen (N, h, w) the logits that the
    session returns where the object is present, pointer (N, C) before absence is considered."""

    masks: torch.Tensor
    iou: torch.Tensor
    score: torch.Tensor
    chosen: torch.Tensor
    pointer: torch.Tensor


def decode(model, features, tokens, points=None, labels=None, hint=None, multimask=True):
    """The Answer to prompts: points (N, K, 2) in pixels of the frame and labels (N, K), or none;
    hint (N, 1, h, w) logits or None. tokens (N, C, g, g), conditioned on memory."""
    n, decoder = len(tokens), model.mask_decoder
    if points is None:
        points, labels = tokens.new_zeros(n, 1, 2), -torch.ones(n, 1, dtype=torch.int32)
    sparse, dense = model.prompt_encoder(points[:, None].float(), labels[:, None], None, hint)
    fixed = torch.cat(
        [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
    )
    queries = torch.cat([fixed.expand(n, 1, -1, -1), sparse.to(fixed.dtype)], 2)
    places = model.get_image_wide_positional_embeddings().to(fixed.dtype).expand(n, -1, -1, -1)
    queries, keys = decoder.transformer(
        point_embeddings=queries,
        image_embeddings=tokens + dense,
        image_positional_embeddings=places,
        attention_similarity=None,
    )
    fine = keys[:, 0].transpose(1, 2).reshape(tokens.shape)
    fine = decoder.activation(
        decoder.upscale_layer_norm(decoder.upscale_conv1(fine) + features.middle)
    )
    fine = decoder.activation(decoder.upscale_conv2(fine) + features.high)
    outputs = queries[:, 0, 2 : 2 + decoder.num_mask_tokens]
    mlps = decoder.output_hypernetworks_mlps
    hyper = torch.stack([mlp(outputs[:, i]) for i, mlp in enumerate(mlps)], 1)
    masks = (hyper @ fine.flatten(2)).unflatten(-1, fine.shape[-2:])
    iou = decoder.iou_prediction_head(queries[:, 0, 1])
    score = decoder.pred_obj_score_head(queries[:, 0, 0])[:, 0]
    rows = torch.arange(n)
    if multimask:
        best = 1 + iou[:, 1:].argmax(-1)
        chosen, token = masks[rows, best], outputs[rows, best]
    else:
        chosen, token = masks[:, 0], outputs[:, 0]
        if not model.training:
            chosen = decoder._dynamic_multimask_via_stability(masks[:, None], iou[:, None])[0]
            chosen = chosen[:, 0, 0]
    return Answer(masks, iou, score, chosen, model.object_pointer_proj(token))


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
    """The mask downsampler, with its norms over 4 to 256 channels written out: torch's gradient of a
    norm over so few values is slow."""
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

    current = features.tokens.flatten(2).permute(2, 0, 1)
    sine = model.vision_encoder.neck.position_encoding
    where = sine((1, channels, g, g), "cpu", torch.float32).flatten(2).permute(2, 0, 1)
    out = model.memory_attention(
        current_vision_features=current,
        current_vision_position_embeddings=where.to(dtype),
        memory=torch.cat(memories),
        memory_posision_embeddings=torch.cat(places),
        num_object_pointer_tokens=len(pointers),
    )
    return out[0].mT.reshape(n, channels, g, g)


def first_click(model, features, points, labels):
    """The Answer to points on a frame without memory; multimask for a single point."""
    tokens = features.tokens + model.no_memory_embedding.view(1, -1, 1, 1)
    return decode(model, features, tokens, points, labels, multimask=points.shape[1] <= 1)


def first_mask(model, features, masks):
    """The Answer of the decoder to masks (N, 1, S, S) in 0..1 on a frame without memory. The
    session takes only its pointer: the mask of such a frame is the given one."""
    hint = model.mask_downsample(masks.to(features.tokens.dtype))
    return decode(model, features, features.tokens, hint=hint)


def track(model, bank, frame, features):
    """The Answer on a frame without prompts, and the tokens that gave it."""
    tokens = condition(model, bank, frame, features)
    return decode(model, features, tokens), tokens


@torch.no_grad()
def follow(model, frames, prompt, chunk=8):
    """The low-resolution logits (T, N, h, w) and scores (T, N) that the session would return for
    (T, S, S, 3) uint8 frames, forwards from a prompt on the first: masks (N, S, S) in 0..1, or
    points and labels as lists or tensors (N, K, 2) and (N, K)."""
    bank, found, scores = Bank(len(frames)), [], []
    pieces = [encode(model, part) for part in frames.split(chunk)]
    for index in range(len(frames)):
        features = pieces[index // chunk]
        if index == 0 and isinstance(prompt, torch.Tensor):
            features = features.of(torch.zeros(len(prompt), dtype=torch.long))
            logits = prompt[:, None] * 20 - 10
            present = prompt.flatten(1).any(1)
            pointer = first_mask(model, features, prompt[:, None]).pointer
            store(model, bank, 0, features, logits, pointer, present, prompted=True)
            size = model.prompt_encoder.mask_input_size
            small = F.interpolate(
                logits, size, mode="bilinear", align_corners=False, antialias=True
            )
            found.append(small[:, 0])
            scores.append(present * 20.0 - 10)
            rows = len(prompt)
            continue
        if index == 0:
            points, labels = (torch.as_tensor(part) for part in prompt)
            rows = len(points)
        features = features.of(torch.full((rows,), index % chunk))
        if index == 0:
            answer = first_click(model, features, points, labels)
        else:
            answer, _ = track(model, bank, index, features)
        present = answer.score > 0
        remember(model, bank, index, features, answer, present, prompted=index == 0)
        found.append(torch.where(present[:, None, None], answer.chosen, NO_OBJ_SCORE).float())
        scores.append(answer.score.float())
    return torch.stack(found), torch.stack(scores)
