"""sam2's checkpoints (Ravi et al. 2024): sam2_hiera_* and sam2.1_hiera_*."""

from __future__ import annotations

import re

from segrid._types import JsonObject, Tensors
from segrid.convert import sam2_memory
from segrid.convert.names import (
    DECODER_RULES,
    ORIGINAL_DECODER_RULES,
    decoder_config,
    depth,
    feed_forward_names,
    renamed,
)

RULES = [
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.out_proj\.", ".o_proj."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    *DECODER_RULES,
]
# The reverse of `RULES`. The rows of POINTS are four tensors in the original.
ORIGINAL_RULES = [
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"^(image_encoder\.trunk\.blocks\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"\.o_proj\.", ".out_proj."),
    (r"^no_memory_embedding$", "no_mem_embed"),
    *ORIGINAL_DECODER_RULES,
]
POINTS = "prompt_encoder.point_embed.weight"
# transformers' video models read shared_image_embedding.positional_embedding under this name, too.
VIDEO_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
ORIGINAL_POINTS = "sam_prompt_encoder.point_embeddings"
# Tensors of original checkpoints that only videos need.
UNUSED = re.compile(
    r"^(memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\.|"
    r"^(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
)
# Settings that shapes do not give, for each published size: (first width, blocks) -> windows,
# blocks of global attention, heads of the first stage.
SIZES: dict[tuple[int, tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...], int]] = {
    (96, (1, 2, 7, 2)): ((8, 4, 14, 7), (5, 7, 9), 1),  # tiny
    (96, (1, 2, 11, 2)): ((8, 4, 14, 7), (7, 10, 13), 1),  # small
    (112, (2, 3, 16, 3)): ((8, 4, 14, 7), (12, 16, 20), 2),  # base plus
    (144, (2, 6, 36, 4)): ((8, 4, 16, 8), (23, 33, 43), 2),  # large
}
IMAGE = (
    "vision_encoder.",
    "prompt_encoder.",
    "mask_decoder.",
    "shared_image_embedding.",
    "no_memory_embedding",
)


MARKS = ("image_encoder.trunk.blocks.0.attn.qkv.weight", "sam_mask_decoder.iou_token.weight")


def recognises(weights: Tensors) -> bool:
    return all(name in weights for name in MARKS)


def convert(weights: Tensors, image_size: int = 1024) -> tuple[JsonObject, Tensors, list[str]]:
    """Returns (config.json, tensors, names of the tensors left out).

    The result is transformers' Sam2VideoModel where the checkpoint holds the memory of video, as
    published ones do, else its Sam2Model.

    image_size : side of the model's square in pixels, which the tensors do not tell"""
    out, dropped = image_part(weights, RULES)
    memory = sam2_memory.convert(weights)
    video = "_video" if memory else ""
    grid = image_size // 4
    backbone = backbone_config(out, image_size)
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "fpn_hidden_size": out["vision_encoder.neck.convs.0.weight"].shape[0],
        "backbone_channel_list": backbone["embed_dim_per_stage"][::-1],
        "backbone_feature_sizes": [[grid, grid], [grid // 2] * 2, [grid // 4] * 2],
        "fpn_top_down_levels": [2, 3],
        "num_feature_levels": 3,
    }
    config = {
        "architectures": ["Sam2VideoModel" if memory else "Sam2Model"],
        "model_type": f"sam2{video}",
        "vision_config": vision,
        **decoder_parts(out, f"sam2{video}", image_size),
    }
    if memory:
        out[VIDEO_POSITIONS] = out["shared_image_embedding.positional_embedding"]
        config |= {"image_size": image_size}
        config |= sam2_memory.config(memory, image_size // 16)
    return config, out | memory, [] if memory else dropped


def image_part(weights: Tensors, rules: list[tuple[str, str]]) -> tuple[Tensors, list[str]]:
    """The tensors that images need, by transformers' names, and the names of all others.

    rules : `RULES`, or those of another family with SAM 2's prompt encoder and mask decoder"""
    import torch

    heads = (
        r"mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head|"
        r"transformer\.layers\.\d+\.mlp)"
    )
    everything = feed_forward_names(
        renamed(weights, rules), rf"(?:{heads}|vision_encoder\.backbone\.blocks\.\d+\.mlp)"
    )
    out = {k: v for k, v in everything.items() if k.startswith(IMAGE)}
    points = [out.pop(f"prompt_encoder.point_embeddings.{i}.weight") for i in range(4)]
    out[POINTS] = torch.cat(points)
    return out, sorted(k for k in everything if not k.startswith(IMAGE))


def decoder_parts(w: Tensors, model_type: str, image_size: int) -> JsonObject:
    """The configs of the prompt encoder and the mask decoder, from renamed tensors."""
    return {
        "prompt_encoder_config": {
            "model_type": f"{model_type}_prompt_encoder",
            "hidden_size": w["prompt_encoder.no_mask_embed.weight"].shape[1],
            "image_size": image_size,
            "patch_size": 16,
            "mask_input_channels": w["prompt_encoder.mask_embed.conv2.weight"].shape[0],
            "layer_norm_eps": 1e-6,
        },
        "mask_decoder_config": decoder_config(w)
        | {
            "model_type": f"{model_type}_mask_decoder",
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }


def backbone_config(w: Tensors, image_size: int) -> JsonObject:
    blocks: list[int] = []
    widths: list[int] = []
    for i in range(depth(w, "vision_encoder.backbone.blocks")):
        width = w[f"vision_encoder.backbone.blocks.{i}.attn.proj.weight"].shape[0]
        if not widths or width != widths[-1]:
            widths.append(width)
            blocks.append(0)
        blocks[-1] += 1
    known = SIZES.get((widths[0], tuple(blocks)))
    if known is None:
        raise NotImplementedError(
            f"a Hiera of width {widths[0]} with {blocks} blocks: windows and global blocks cannot "
            f"be told from the weights; known: {', '.join(f'{w} {list(b)}' for w, b in SIZES)}"
        )
    windows, of_all, heads = known
    kernel = w["vision_encoder.backbone.patch_embed.projection.weight"].shape[2]
    return {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": widths[0],
        "num_attention_heads": heads,
        "image_size": [image_size, image_size],
        "patch_kernel_size": [kernel, kernel],
        "patch_stride": [4, 4],
        "patch_padding": [3, 3],
        "query_stride": [2, 2],
        "num_query_pool_stages": 3,
        "window_positional_embedding_background_size": list(
            w["vision_encoder.backbone.pos_embed"].shape[2:]
        ),
        "blocks_per_stage": blocks,
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**i for i in range(len(widths))],
        "window_size_per_stage": list(windows),
        "global_attention_blocks": list(of_all),
        "mlp_ratio": w["vision_encoder.backbone.blocks.0.mlp.proj_in.weight"].shape[0] / widths[0],
        "layer_norm_eps": 1e-6,
    }
