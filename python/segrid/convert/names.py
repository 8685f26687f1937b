"""Renames tensors by rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from segrid._types import JsonObject, Tensors

# (original, transformers): names that the prompt encoders and mask decoders of segment-anything and
# sam2 share.
DECODER_RULES = [
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"(transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"norm_final_attn\.", "layer_norm_final_attn."),
]

# (transformers, original): the reverse of `DECODER_RULES`.
ORIGINAL_DECODER_RULES = [
    (r"mask_embed\.conv1\.", "mask_downscaling.0."),
    (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
    (r"mask_embed\.conv2\.", "mask_downscaling.3."),
    (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
    (r"mask_embed\.conv3\.", "mask_downscaling.6."),
    (r"upscale_conv1\.", "output_upscaling.0."),
    (r"upscale_layer_norm\.", "output_upscaling.1."),
    (r"upscale_conv2\.", "output_upscaling.3."),
    (r"(transformer\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"layer_norm_final_attn\.", "norm_final_attn."),
]


def renamed(weights: Tensors, rules: list[tuple[str, str]]) -> Tensors:
    """Renames the tensors: every rule is applied to every name, in order."""
    out = {}
    for name, value in weights.items():
        for pattern, to in rules:
            name = re.sub(pattern, to, name)
        out[name] = value
    return out


def feed_forward_names(weights: Tensors, prefix: str) -> Tensors:
    """Renames chains of Linears to transformers' names, for every prefix that the pattern matches.

    `prefix`.layers.0, .1 ... .n become proj_in, layers.0 ..., proj_out.
    """
    pattern = re.compile(rf"^({prefix})\.layers\.(\d+)\.(weight|bias)$")
    last: dict[str, int] = {}
    for name in weights:
        if found := pattern.match(name):
            last[found[1]] = max(last.get(found[1], 0), int(found[2]))
    out = {}
    for name, value in weights.items():
        if found := pattern.match(name):
            n = int(found[2])
            part = "proj_in" if n == 0 else "proj_out" if n == last[found[1]] else f"layers.{n - 1}"
            name = f"{found[1]}.{part}.{found[3]}"
        out[name] = value
    return out


def original_names(names: Iterable[str], rules: list[tuple[str, str]]) -> dict[str, str]:
    """Maps each name to the original's name.

    It applies `rules`, then numbers chains of Linears (proj_in, layers.0 ..., proj_out) as
    layers.0, .1 ... .n again.
    """
    originals = renamed({name: name for name in names}, rules)
    chain = re.compile(r"^(.+)\.(proj_in|proj_out|layers\.(\d+))\.(weight|bias)$")
    starts = {m[1] for name in originals if (m := chain.match(name)) and m[2] == "proj_in"}
    last = {start: 1 + depth(originals, f"{start}.layers") for start in starts}
    out = {}
    for name, source in originals.items():
        if (found := chain.match(name)) and found[1] in starts:
            place = {"proj_in": 0, "proj_out": last[found[1]]}.get(found[2])
            name = f"{found[1]}.layers.{int(found[3]) + 1 if place is None else place}.{found[4]}"
        out[source] = name
    return out


def depth(weights: Tensors, prefix: str) -> int:
    """The number of modules `prefix`.0, .1, ..."""
    pattern = re.compile(rf"^{re.escape(prefix)}\.(\d+)\.")
    return 1 + max((int(m[1]) for name in weights if (m := pattern.match(name))), default=-1)


def decoder_config(weights: Tensors) -> JsonObject:
    """The mask_decoder_config of transformers, from renamed tensors."""
    dim = weights["mask_decoder.iou_token.weight"].shape[1]
    return {
        "hidden_size": dim,
        "mlp_dim": _first(
            weights,
            "mask_decoder.transformer.layers.0.mlp.lin1.weight",
            "mask_decoder.transformer.layers.0.mlp.proj_in.weight",
        ).shape[0],
        "num_hidden_layers": depth(weights, "mask_decoder.transformer.layers"),
        "num_attention_heads": 8,
        "attention_downsample_rate": dim
        // weights["mask_decoder.transformer.final_attn_token_to_image.q_proj.weight"].shape[0],
        "num_multimask_outputs": weights["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        "iou_head_depth": 2 + depth(weights, "mask_decoder.iou_prediction_head.layers"),
        "iou_head_hidden_dim": weights["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
        "layer_norm_eps": 1e-5,  # torch's default, which the originals' decoders use
    }


def _first(weights: Tensors, *names: str) -> Any:
    return weights[next((n for n in names if n in weights), names[0])]
