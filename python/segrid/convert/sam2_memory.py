"""The video part of sam2's checkpoints: memory attention, memory encoder and object pointers."""

from __future__ import annotations

import re

from segrid._types import JsonObject, Tensors
from segrid.convert.names import depth, feed_forward_names, renamed

PREFIXES = (
    "memory_attention.",
    "memory_encoder.",
    "memory_temporal_positional_encoding",
    "mask_downsample.",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)
RULES = [
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
    (r"^(memory_encoder\.memory_fuser\.layers\.\d+)\.norm\.", r"\1.layer_norm."),
    (r"^(memory_attention\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^(memory_attention\.layers\.\d+\.\w+)\.out_proj\.", r"\1.o_proj."),
    (r"^memory_attention\.norm\.", "memory_attention.layer_norm."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
]
# The mask downsampler is one chain there: convolution, norm and activation for every layer, then a
# last convolution.
_CHAIN = re.compile(r"^memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(weight|bias)$")


def convert(weights: Tensors) -> Tensors:
    """The video tensors among the original's, by transformers' names. Empty where the checkpoint
    has no memory encoder. Where it has one, no other video tensor may be missing: the model would
    not load, which `segrid.convert` refuses."""
    chain = [int(found[1]) for name in weights if (found := _CHAIN.match(name))]
    if not chain:
        return {}
    named = renamed(weights, RULES)
    out = {}
    for name, value in feed_forward_names(named, "object_pointer_proj").items():
        if found := _CHAIN.match(name):
            name = f"memory_encoder.mask_downsampler.{_place(int(found[1]), max(chain))}{found[2]}"
        if name.startswith(PREFIXES):
            out[name] = value
    return out


def _place(number: int, last: int) -> str:
    if number == last:
        return "final_conv."
    return f"layers.{number // 3}.{'conv' if number % 3 == 0 else 'layer_norm'}."


def config(tensors: Tensors, grid: int) -> JsonObject:
    """What transformers' Sam2VideoConfig has beyond Sam2Config: sizes by the tensors, settings as
    sam2's published configurations have them. grid: image tokens along a side."""
    attention = tensors["memory_attention.layers.0.self_attn.q_proj.weight"]
    fuser = tensors["memory_encoder.memory_fuser.layers.0.depthwise_conv.weight"]
    sampler = tensors["memory_encoder.mask_downsampler.layers.0.conv.weight"]
    samplers = depth(tensors, "memory_encoder.mask_downsampler.layers")
    return {
        "num_maskmem": tensors["memory_temporal_positional_encoding"].shape[0],
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        # SAM 2.1 has these two, SAM 2 has neither.
        "enable_occlusion_spatial_embedding": "occlusion_spatial_embedding_parameter" in tensors,
        "enable_temporal_pos_encoding_for_object_pointers": (
            "temporal_positional_encoding_projection_layer.weight" in tensors
        ),
        "multimask_output_in_sam": True,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "multimask_output_for_tracking": True,
        "max_object_pointers_in_encoder": 16,
        "max_cond_frame_num": -1,
        "memory_attention_hidden_size": attention.shape[1],
        "memory_attention_num_layers": depth(tensors, "memory_attention.layers"),
        "memory_attention_num_attention_heads": 1,
        "memory_attention_downsample_rate": attention.shape[1] // attention.shape[0],
        "memory_attention_feed_forward_hidden_size": (
            tensors["memory_attention.layers.0.linear1.weight"].shape[0]
        ),
        "memory_attention_feed_forward_hidden_act": "relu",
        "memory_attention_rope_feat_sizes": [grid, grid],
        "rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0},
        "memory_encoder_hidden_size": fuser.shape[0],
        "memory_encoder_output_channels": tensors["memory_encoder.projection.weight"].shape[0],
        "mask_downsampler_embed_dim": (
            tensors["memory_encoder.mask_downsampler.final_conv.weight"].shape[0]
        ),
        "mask_downsampler_kernel_size": sampler.shape[2],
        "mask_downsampler_stride": 2,
        "mask_downsampler_padding": sampler.shape[2] // 2,
        "mask_downsampler_total_stride": 2**samplers,
        "mask_downsampler_hidden_act": "gelu",
        "memory_fuser_num_layers": depth(tensors, "memory_encoder.memory_fuser.layers"),
        "memory_fuser_embed_dim": fuser.shape[0],
        "memory_fuser_intermediate_dim": (
            tensors["memory_encoder.memory_fuser.layers.0.pointwise_conv1.weight"].shape[0]
        ),
        "memory_fuser_kernel_size": fuser.shape[2],
        "memory_fuser_padding": fuser.shape[2] // 2,
        "memory_fuser_hidden_act": "gelu",
    }
