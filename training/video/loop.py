"""The steps of Sam2VideoModel for many objects at once, with gradients.

transformers' own session follows one object at a time and cuts gradients off. Here every object of
every clip of a batch is a row, and all rows are prompted and corrected on the same frames. The
computation is that of the session, on the model's own parameters: `tests/training/test_video.py`
compares the masks. Shapes: N objects, M = 4 masks (the single one first), h x w low-resolution
pixels (64 x 64), L image tokens (16 x 16)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE

from .encoder import encode
from .memory import Bank, condition, remember, store


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
