"""The architecture of `tiny-video`, and its initial weights: prompt encoder and mask decoder come
from the packaged `tiny`, whose decoder has the same width; the rest is drawn at random."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

SIDE = 384  # of the model's frame in pixels
WIDTH = 128  # channels of image tokens and of the decoder
MEMORY = 64  # channels of a memory: transformers' cross-attention takes no other number
DIMS = [32, 96, 192, 256]
TINY = Path(__file__).parents[2] / "python/segrid/models/tiny"


def config(side=SIDE):
    """transformers' Sam2VideoConfig for frames of `side` pixels, a multiple of 128. The shapes of
    its weights are the same for every side."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    grid = side // 4
    backbone = Sam2HieraDetConfig(
        hidden_size=DIMS[0],
        num_attention_heads=1,
        image_size=[side, side],
        blocks_per_stage=[1, 2, 5, 1],
        embed_dim_per_stage=DIMS,
        num_attention_heads_per_stage=[1, 2, 3, 4],
        # A block that pools cannot be global in transformers, so the windows of the last two stages
        # are their whole grids.
        window_size_per_stage=[8, 8, grid // 4, grid // 8],
        global_attention_blocks=[4, 5, 6, 7],
        window_positional_embedding_background_size=[16, 16],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=DIMS[::-1],
        fpn_hidden_size=WIDTH,
        backbone_feature_sizes=[[grid] * 2, [grid // 2] * 2, [grid // 4] * 2],
    )
    return Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=dict(
            hidden_size=WIDTH, image_size=side, model_type="sam2_video_prompt_encoder"
        ),
        mask_decoder_config=dict(
            hidden_size=WIDTH,
            mlp_dim=4 * WIDTH,
            num_attention_heads=4,
            iou_head_hidden_dim=WIDTH,
            model_type="sam2_video_mask_decoder",
        ),
        image_size=side,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=4 * WIDTH,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[grid // 4] * 2,
        memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=2 * WIDTH,
        memory_fuser_kernel_size=3,
        memory_fuser_padding=1,
    )


def from_tiny(weights):
    """The weights of `tiny` (SAM, transformers' names) that SAM 2 has as well, by SAM 2's names."""
    found = {}
    for name, value in weights.items():
        if name.startswith(("mask_decoder.", "prompt_encoder.")):
            name = name.replace(".out_proj.", ".o_proj.")
            name = name.replace(".mlp.lin1.", ".mlp.proj_in.").replace(
                ".mlp.lin2.", ".mlp.proj_out."
            )
            found[name] = value.float()
    kinds = [found.pop(f"prompt_encoder.point_embed.{i}.weight") for i in range(4)]
    found["prompt_encoder.point_embed.weight"] = torch.cat(kinds)
    # SAM 2 predicts the IoU through a sigmoid, which is near to the identity at this scale.
    for name in [n for n in found if "output_hypernetworks_mlps" in n and "proj_out" in n]:
        found[name] = found[name] / 10  # Other features would give logits of hundreds.
    head = "mask_decoder.iou_prediction_head.proj_out"
    found[f"{head}.weight"] = found[f"{head}.weight"] * 4
    found[f"{head}.bias"] = (found[f"{head}.bias"] - 0.5) * 4
    frequencies = weights["shared_image_embedding.positional_embedding"].float()
    for place in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        found[f"{place}.positional_embedding"] = frequencies
    return found


@torch.no_grad()
def fresh(seed, tiny=TINY, side=SIDE):
    """A Sam2VideoModel with initial weights for frames of `side` pixels. `tiny`: the folder of the
    packaged segmenter."""
    from transformers import Sam2VideoModel

    from ..initial import _cosines

    torch.manual_seed(seed)
    model = Sam2VideoModel(config(side))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5 * 0.7)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan = module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=fan**-0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
    backbone = model.vision_encoder.backbone
    nn.init.trunc_normal_(backbone.pos_embed, std=0.02)
    nn.init.trunc_normal_(backbone.pos_embed_window, std=0.02)
    for block in backbone.blocks:
        for last in (block.attn.proj, block.mlp.proj_out):
            last.weight.mul_((2 * len(backbone.blocks)) ** -0.5)
    patch = backbone.patch_embed.projection.weight
    patch.copy_(_cosines(patch.shape[-1], len(patch)))
    for layer in model.memory_attention.layers:
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    for block in model.memory_encoder.memory_fuser.layers:
        block.scale.fill_(0.3)
    for values in (
        model.no_object_pointer,
        model.memory_temporal_positional_encoding,
        model.occlusion_spatial_embedding_parameter,
    ):
        nn.init.normal_(values, std=0.1)
    # The decoder of `tiny` knows no fine features: they begin small.
    model.mask_decoder.conv_s0.weight.mul_(0.02)
    model.mask_decoder.conv_s1.weight.mul_(0.2)
    # The prompted mask, 0 or 1, becomes logits of -10 or 10 averaged over 4 x 4 pixels.
    model.mask_downsample.weight.fill_(20 / 16)
    model.mask_downsample.bias.fill_(-10)
    missing = model.load_state_dict(
        from_tiny(load_file(str(Path(tiny) / "model.safetensors"))), strict=False
    )
    if missing.unexpected_keys:
        raise ValueError(f"{tiny} has weights that SAM 2 has not: {missing.unexpected_keys}")
    return model


def trained(source, side=SIDE):
    """The Sam2VideoModel of a packaged folder, or of a run's `ema.safetensors`, in fp32, for frames
    of `side` pixels."""
    from transformers import Sam2VideoModel

    source = Path(source)
    weights = load_file(str(source / "model.safetensors" if source.is_dir() else source))
    model = Sam2VideoModel(config(side))
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model
