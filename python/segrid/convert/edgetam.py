"""EdgeTAM's checkpoint (Zhou et al. 2025): edgetam.pt."""

from __future__ import annotations

import re

from segrid._types import JsonObject, Tensors
from segrid.convert import sam2, sam2_memory
from segrid.convert.names import depth, renamed

RULES = [
    (r"^image_encoder\.trunk\.body\.", "vision_encoder.backbone.timm_model."),
    *sam2.RULES,
]
PERCEIVER = "spatial_perceiver."
PERCEIVER_RULES = [
    (r"^spatial_perceiver\.latents$", "spatial_perceiver.latents_1d"),
    (r"^spatial_perceiver\.norm\.", "spatial_perceiver.layer_norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.attn\.norm_x\.", r"\1.layer_norm_input."),
    (r"^(spatial_perceiver\.layers\.\d+)\.attn\.norm_latents\.", r"\1.layer_norm_latents."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_attn\.norm\.", r"\1.layer_norm_self."),
    (r"^(spatial_perceiver\.layers\.\d+)\.attn\.", r"\1.cross_attention."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_attn\.", r"\1.self_attention."),
    (r"\.to_q\.", ".q_proj."),
    (r"\.to_out\.", ".o_proj."),
    (r"\.(self_)?ff\.0\.", r".\1mlp.layer_norm."),
    (r"\.(self_)?ff\.1\.", r".\1mlp.up_proj."),
    (r"\.(self_)?ff\.3\.", r".\1mlp.down_proj."),
]
MEMORY_RULES = [
    (r"^(memory_attention\.layers\.\d+)\.linear1\.", r"\1.mlp.up_proj."),
    (r"^(memory_attention\.layers\.\d+)\.linear2\.", r"\1.mlp.down_proj."),
]
MARKS = ("image_encoder.trunk.body.stem.conv1.c.weight", "sam_mask_decoder.iou_token.weight")


def recognises(weights: Tensors) -> bool:
    return all(name in weights for name in MARKS)


def convert(weights: Tensors, image_size: int = 1024) -> tuple[JsonObject, Tensors, list[str]]:
    """Returns (config.json, tensors, names of the tensors left out).

    The result is transformers' EdgeTamVideoModel where the checkpoint holds the memory of video, as
    the published one does, else its EdgeTamModel.

    image_size : side of the model's square in pixels, which the tensors do not tell"""
    out, dropped = sam2.image_part(weights, RULES)
    memory = sam2_memory.convert(weights)
    model_type = "edgetam_video" if memory else "edgetam"
    grid = image_size // 4
    backbone = backbone_config(out)
    config = {
        "architectures": ["EdgeTamVideoModel" if memory else "EdgeTamModel"],
        "model_type": model_type,
        "vision_config": {
            "model_type": "edgetam_vision_model",
            "backbone_config": backbone,
            "fpn_hidden_size": out["vision_encoder.neck.convs.0.weight"].shape[0],
            "backbone_channel_list": backbone["model_args"]["embed_dim"][::-1],
            "backbone_feature_sizes": [[grid, grid], [grid // 2] * 2, [grid // 4] * 2],
            "fpn_top_down_levels": [2, 3],
            "num_feature_levels": 3,
        },
        **sam2.decoder_parts(out, model_type, image_size),
    }
    if not memory:
        return config, out, dropped
    latents = perceiver(weights)
    config |= {"image_size": image_size}
    config |= memory_config(memory, latents, image_size // 16)
    out[sam2.VIDEO_POSITIONS] = out["shared_image_embedding.positional_embedding"]
    return config, out | renamed(memory, MEMORY_RULES) | latents, []


def backbone_config(w: Tensors) -> JsonObject:
    """The config of transformers' TimmWrapperModel, with the sizes of timm's RepViT."""
    model = "vision_encoder.backbone.timm_model"
    stages = range(4)
    mixer = f"{model}.stages_0.blocks.0.token_mixer"
    dims = [w[f"{model}.stem.conv2.c.weight"].shape[0]]
    dims += [
        w[f"{model}.stages_{s}.downsample.channel_downsample.c.weight"].shape[0] for s in stages[1:]
    ]
    return {
        "model_type": "timm_wrapper",
        # The two differ in the BatchNorms of a block's branches only.
        "architecture": "repvit_m1" if f"{mixer}.conv1.c.weight" in w else "repvit_m0_9",
        "model_args": {
            "in_chans": 3,
            "features_only": True,
            "out_indices": [0, 1, 2, 3],
            "embed_dim": dims,
            "depth": [depth(w, f"{model}.stages_{s}.blocks") for s in stages],
        },
        # transformers asks timm for the names of classes where these are missing.
        "num_classes": 2,
        "label_names": ["LABEL_0", "LABEL_1"],
    }


def perceiver(weights: Tensors) -> Tensors:
    """The spatial perceiver by transformers' names, with keys and values apart."""
    out: Tensors = {}
    own = {name: value for name, value in weights.items() if name.startswith(PERCEIVER)}
    for name, value in renamed(own, PERCEIVER_RULES).items():
        if found := re.match(r"^(.+)\.to_kv\.weight$", name):
            out[f"{found[1]}.k_proj.weight"], out[f"{found[1]}.v_proj.weight"] = value.chunk(2)
        else:
            out[name] = value
    return out


def memory_config(memory: Tensors, latents: Tensors, grid: int) -> JsonObject:
    """What EdgeTamVideoConfig has beyond EdgeTamConfig: sizes by the tensors, settings as the
    published configuration has them. memory: by SAM 2's names. grid: image tokens along a side."""
    attention = latents[f"{PERCEIVER}layers.0.cross_attention.q_proj.weight"]
    placed = latents[f"{PERCEIVER}latents_2d"].shape[0]
    square = round(placed**0.5)
    config = {
        name.replace("attention_feed_forward", "attention_mlp"): value
        for name, value in sam2_memory.config(memory, grid).items()
    }
    return config | {
        "memory_attention_rope_k_sizes": [square, square],
        "perceiver_resampler_num_latents": latents[f"{PERCEIVER}latents_1d"].shape[0],
        "perceiver_resampler_num_latents_2d": placed,
        "perceiver_resampler_hidden_size": attention.shape[1],
        "perceiver_resampler_mlp_intermediate_size": (
            latents[f"{PERCEIVER}layers.0.mlp.up_proj.weight"].shape[0]
        ),
        "perceiver_resampler_num_attention_heads": 1,
        "perceiver_resampler_attention_head_dim": attention.shape[0],
        "perceiver_resampler_num_layers": depth(latents, f"{PERCEIVER}layers"),
    }
