"""The memory of video as transformers computes it, from the parts of its own session."""

from unittest import mock

import torch
from transformers.models.sam2_video import modeling_sam2_video


def squares(x, pooling):
    """[tokens, ...] of a square grid, with the mean of its square of tokens in place of each."""
    side = round(len(x) ** 0.5)
    apart = x.view(side // pooling, pooling, side // pooling, pooling, *x.shape[1:])
    return apart.mean((1, 3), keepdim=True).expand_as(apart).reshape(x.shape)


def pooled(x, pooling):
    """[tokens, channels] of a square grid: the means of its squares of tokens."""
    side = round(len(x) ** 0.5)
    apart = x.view(side // pooling, pooling, side // pooling, pooling, -1)
    return apart.mean((1, 3)).flatten(0, 1)


def attended_to_squares(original, image, frames, pointers, most, pooling):
    """The same as `attended` for memory of which only the means of squares are known: each token
    has the mean of its square as its features and its position, and turns by the square's middle.
    """
    turn = modeling_sam2_video.apply_rotary_pos_emb_2d
    side = original.backbone_feature_sizes[-1][0]
    frequencies = original.memory_attention.rotary_emb.inv_freq
    place = torch.arange(side**2)
    x, y = squares((place % side).float(), pooling), squares((place // side).float(), pooling)
    angles = torch.cat([x[:, None] * frequencies, y[:, None] * frequencies], 1)
    angles = angles.repeat_interleave(2, 1)

    def turned(q, k, cos, sin, num_k_exclude_rope=0, repeat_freqs_k=False):
        q_turned, k_turned = turn(q, k, cos, sin, num_k_exclude_rope, repeat_freqs_k)
        if repeat_freqs_k:
            cos, sin = (f(angles).expand_as(cos) for f in (torch.cos, torch.sin))
            _, k_turned = turn(q, k, cos, sin, num_k_exclude_rope, repeat_freqs_k)
        return q_turned, k_turned

    frames = [(squares(features, pooling), age) for features, age in frames]
    with mock.patch.object(modeling_sam2_video, "apply_rotary_pos_emb_2d", turned):
        return attended(original, image, frames, pointers, most, pooling)


def attended(original, image, frames, pointers, most, pooling=1):
    """Image features in the light of memory, [tokens, channels].

    original : a Sam2VideoModel
    image : the image's own features, [tokens, channels]
    frames : pairs of features, [tokens, memory channels], and their age in frames
    pointers : pairs of an object pointer, [channels], and its age in 0..1 of `most` - 1 frames
    pooling : of positions, see `attended_to_squares`"""
    channels = original.mem_dim
    side = original.backbone_feature_sizes[-1][0]
    where = original.memory_encoder.position_encoding(
        torch.Size((1, channels, side, side)), torch.device("cpu"), torch.float32
    )
    where = squares(where.flatten(2).permute(2, 0, 1), pooling)
    outputs = [
        (age, {"maskmem_features": features[:, None], "maskmem_pos_enc": where})
        for features, age in frames
    ]
    kept, places = original._build_memory_attention_inputs(outputs, torch.device("cpu"))
    tokens = 0
    if pointers:
        values, ages = original._process_object_pointers(
            [round(age * (most - 1)) for _, age in pointers],
            [pointer[None] for pointer, _ in pointers],
            most,
            1,
            original.hidden_dim,
            torch.device("cpu"),
        )
        kept.append(values)
        places.append(ages)
        tokens = values.shape[0]
    grid = original.vision_encoder.neck.position_encoding(
        torch.Size((1, original.hidden_dim, side, side)), torch.device("cpu"), torch.float32
    )
    return original.memory_attention(
        current_vision_features=image[:, None],
        current_vision_position_embeddings=grid.flatten(2).permute(2, 0, 1),
        memory=torch.cat(kept),
        memory_posision_embeddings=torch.cat(places),
        num_object_pointer_tokens=tokens,
    ).reshape(image.shape)


def remembered(original, image, mask, from_prompt=False, appears=True):
    """What a Sam2VideoModel remembers of an object, [tokens, memory channels] as it keeps it.

    mask : logits in the model's square, [side, side]"""
    features, _ = original._encode_new_memory(
        current_vision_feats=image[:, None],
        pred_masks_high_res=mask[None, None],
        object_score_logits=torch.tensor([[1.0 if appears else -1.0]]),
        is_mask_from_pts=from_prompt,
    )
    return features[:, 0].float()
