"""MobileSAM's checkpoint (Zhang et al. 2023): mobile_sam.pt."""

from __future__ import annotations

import re

from segrid._types import JsonObject, Tensors
from segrid.convert import sam
from segrid.convert.names import decoder_config, depth, feed_forward_names, renamed

# The rules of SAM, without those that would rename layers of TinyViT.
RULES = [
    r
    for r in sam.RULES
    if not r[0].startswith(("patch_embed", "^vision_encoder", "^(vision_encoder"))
]
ORIGINAL_RULES = [
    r
    for r in sam.ORIGINAL_RULES
    if not r[0].startswith((r"^vision_encoder\.layers", r"^vision_encoder\.patch"))
]
UNUSED = re.compile(
    r"^image_encoder\.(norm_head|head)\.|\.num_batches_tracked$|\.attention_bias_idxs$|"
    r"^pixel_(mean|std)$"
)


MARKS = ("image_encoder.patch_embed.seq.0.c.weight", "mask_decoder.iou_token.weight")


def recognises(weights: Tensors) -> bool:
    return all(name in weights for name in MARKS)


def convert(weights: Tensors, image_size: int = 1024) -> tuple[JsonObject, Tensors, list[str]]:
    """Returns (config.json, tensors, names of the tensors left out).

    The tensors left out are the classifier with which TinyViT was trained.
    """
    dropped = sorted(k for k in weights if UNUSED.search(k))
    out = feed_forward_names(
        renamed({k: v for k, v in weights.items() if k not in dropped}, RULES),
        r"mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)",
    )
    config = {
        "architectures": ["MobileSam"],
        "model_type": "mobile_sam",
        "vision_config": vision_config(out) | {"image_size": image_size},
        "prompt_encoder_config": {
            "hidden_size": out["prompt_encoder.no_mask_embed.weight"].shape[1],
            "image_size": image_size,
            "patch_size": 16,
            "mask_input_channels": out["prompt_encoder.mask_embed.conv2.weight"].shape[0],
            "layer_norm_eps": 1e-6,
        },
        "mask_decoder_config": decoder_config(out),
    }
    return config, out, [k for k in dropped if "head." in k]


def vision_config(w: Tensors) -> JsonObject:
    layers = "vision_encoder.layers"
    stages = range(1, depth(w, layers))
    first = w[f"{layers}.0.blocks.0.conv1.c.weight"]
    biases = [w[f"{layers}.{s}.blocks.0.attn.attention_biases"].shape for s in stages]
    dims = [
        first.shape[1],
        *(w[f"{layers}.{s}.blocks.0.attn.proj.weight"].shape[0] for s in stages),
    ]
    return {
        "embed_dims": dims,
        "depths": [depth(w, f"{layers}.{s}.blocks") for s in (0, *stages)],
        "num_heads": [2, *(b[0] for b in biases)],
        "window_sizes": [7, *(round(b[1] ** 0.5) for b in biases)],
        "mlp_ratio": w[f"{layers}.1.blocks.0.mlp.fc1.weight"].shape[0] / dims[1],
        "mbconv_expand_ratio": first.shape[0] / dims[0],
        "output_channels": w["vision_encoder.neck.conv1.weight"].shape[0],
    }
