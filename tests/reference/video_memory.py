"""The memory of video as transformers computes it, from the parts of its own session."""

import torch


def attended(original, image, frames, pointers, most):
    """Image features in the light of memory, [tokens, channels].

    original : a Sam2VideoModel
    image : the image's own features, [tokens, channels]
    frames : pairs of features, [tokens, memory channels], and their age in frames
    pointers : pairs of an object pointer, [channels], and its age in 0..1 of `most` - 1 frames"""
    channels = original.mem_dim
    side = original.backbone_feature_sizes[-1][0]
    where = original.memory_encoder.position_encoding(
        torch.Size((1, channels, side, side)), torch.device("cpu"), torch.float32
    )
    where = where.flatten(2).permute(2, 0, 1)
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
