"""Converts segment-anything's checkpoints (Kirillov et al. 2023).

They are sam_vit_b, sam_vit_l, sam_vit_h, and others of that architecture.
"""

from __future__ import annotations

from segrid._types import JsonObject, Tensors
from segrid.convert.names import (
    DECODER_RULES,
    ORIGINAL_DECODER_RULES,
    decoder_config,
    depth,
    feed_forward_names,
    renamed,
)

RULES = [
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^(vision_encoder\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (
        r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    *DECODER_RULES,
]
# The reverse of `RULES`.
ORIGINAL_RULES = [
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"neck\.conv1\.", "neck.0."),
    (r"neck\.layer_norm1\.", "neck.1."),
    (r"neck\.conv2\.", "neck.2."),
    (r"neck\.layer_norm2\.", "neck.3."),
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    *ORIGINAL_DECODER_RULES,
]


MARKS = ("image_encoder.blocks.0.attn.qkv.weight", "mask_decoder.iou_token.weight")


def recognises(weights: Tensors) -> bool:
    return all(name in weights for name in MARKS)


def convert(weights: Tensors) -> tuple[JsonObject, Tensors, list[str]]:
    """Returns (config.json, tensors, names of the tensors left out)."""
    weights = {k: v for k, v in weights.items() if k not in ("pixel_mean", "pixel_std")}
    out = feed_forward_names(
        renamed(weights, RULES),
        r"mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)",
    )
    return (
        {
            "architectures": ["SamModel"],
            "model_type": "sam",
            "vision_config": vision_config(out),
            "prompt_encoder_config": prompt_config(out),
            "mask_decoder_config": decoder_config(out),
        },
        out,
        [],
    )


def vision_config(w: Tensors) -> JsonObject:
    layers = depth(w, "vision_encoder.layers")
    hidden, _, patch, _ = w["vision_encoder.patch_embed.projection.weight"].shape
    grid = w["vision_encoder.pos_embed"].shape[1]
    extents = [
        (w[f"vision_encoder.layers.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(layers)
    ]
    return {
        "model_type": "sam_vision_model",
        "image_size": grid * patch,
        "patch_size": patch,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // w["vision_encoder.layers.0.attn.rel_pos_h"].shape[1],
        "mlp_dim": w["vision_encoder.layers.0.mlp.lin1.weight"].shape[0],
        "window_size": min(extents),
        "global_attn_indexes": [
            i for i, e in enumerate(extents) if e == grid and e != min(extents)
        ],
        "output_channels": w["vision_encoder.neck.conv1.weight"].shape[0],
        "num_pos_feats": w["shared_image_embedding.positional_embedding"].shape[1],
        "qkv_bias": True,
        "use_abs_pos": True,
        "use_rel_pos": True,
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
    }


def prompt_config(w: Tensors) -> JsonObject:
    grid, patch = (
        w["vision_encoder.pos_embed"].shape[1],
        w["vision_encoder.patch_embed.projection.weight"].shape[2],
    )
    return {
        "model_type": "sam_prompt_encoder",
        "hidden_size": w["prompt_encoder.no_mask_embed.weight"].shape[1],
        "image_size": grid * patch,
        "patch_size": patch,
        "image_embedding_size": grid,
        "mask_input_channels": w["prompt_encoder.mask_embed.conv2.weight"].shape[0],
        "layer_norm_eps": 1e-6,
    }
