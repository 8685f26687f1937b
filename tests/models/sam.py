"""SAM models with seeded random weights, whose masks are neither empty nor full and whose predicted
IoUs are spread; and the same weights for segment-anything."""

import re

import torch

from tests.models import seeded_weights

PRESETS = {
    "small": dict(
        image=128,
        patch=8,
        hidden=48,
        layers=4,
        heads=4,
        mlp=96,
        window=6,
        glob=[1, 3],
        out=64,
        dheads=4,
        dmlp=96,
    ),
    "tester": dict(
        image=24,
        patch=2,
        hidden=36,
        layers=2,
        heads=4,
        mlp=72,
        window=14,
        glob=[2, 5, 8, 11],
        out=32,
        dheads=4,
        dmlp=64,
    ),
    "wide": dict(
        image=160,
        patch=16,
        hidden=96,
        layers=3,
        heads=3,
        mlp=200,
        window=4,
        glob=[2],
        out=128,
        dheads=8,
        dmlp=256,
    ),
    "vit_b": dict(
        image=1024,
        patch=16,
        hidden=768,
        layers=12,
        heads=12,
        mlp=3072,
        window=14,
        glob=[2, 5, 8, 11],
        out=256,
        dheads=8,
        dmlp=2048,
    ),
    # The prompt encoder and mask decoder of published models, after hardly any image encoder.
    "published decoder": dict(
        image=1024,
        patch=16,
        hidden=48,
        layers=1,
        heads=2,
        mlp=48,
        window=14,
        glob=[],
        out=256,
        dheads=8,
        dmlp=2048,
    ),
}


def make(preset, folder, seed=0):
    """Writes config.json and model.safetensors of a preset into `folder` in transformers' format,
    and returns the folder."""
    from transformers import SamConfig, SamModel

    c = PRESETS[preset]
    torch.manual_seed(seed)
    config = SamConfig(
        vision_config=dict(
            image_size=c["image"],
            patch_size=c["patch"],
            hidden_size=c["hidden"],
            num_hidden_layers=c["layers"],
            num_attention_heads=c["heads"],
            mlp_dim=c["mlp"],
            window_size=c["window"],
            global_attn_indexes=c["glob"],
            output_channels=c["out"],
            num_pos_feats=c["out"] // 2,
        ),
        prompt_encoder_config=dict(
            hidden_size=c["out"], image_size=c["image"], patch_size=c["patch"]
        ),
        mask_decoder_config=dict(
            hidden_size=c["out"],
            num_attention_heads=c["dheads"],
            mlp_dim=c["dmlp"],
            iou_head_hidden_dim=c["out"],
            # This is segment-anything's epsilon, which its decoder does not let users choose.
            layer_norm_eps=1e-5,
        ),
    )
    return seeded_weights.save(SamModel(config), _calibrate, folder)


def _calibrate(model):
    out = seeded_weights.clicks(model, model.config.vision_config.image_size)
    seeded_weights.spread(model, out.pred_masks, out.iou_scores, 0.8, 0.15)


def _segment_anything(v, p, d):
    """segment_anything's own Sam for transformers' vision, prompt encoder and mask decoder
    configurations."""
    from functools import partial

    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    grid = v.image_size // v.patch_size
    norm = partial(torch.nn.LayerNorm, eps=v.layer_norm_eps)
    return Sam(
        image_encoder=ImageEncoderViT(
            depth=v.num_hidden_layers,
            embed_dim=v.hidden_size,
            img_size=v.image_size,
            mlp_ratio=v.mlp_dim / v.hidden_size,
            norm_layer=norm,
            num_heads=v.num_attention_heads,
            patch_size=v.patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=tuple(v.global_attn_indexes),
            window_size=v.window_size,
            out_chans=v.output_channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=d.hidden_size,
            image_embedding_size=(grid, grid),
            input_image_size=(v.image_size, v.image_size),
            mask_in_chans=p.mask_input_channels,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer_dim=d.hidden_size,
            iou_head_depth=d.iou_head_depth,
            iou_head_hidden_dim=d.iou_head_hidden_dim,
            transformer=TwoWayTransformer(
                depth=d.num_hidden_layers,
                embedding_dim=d.hidden_size,
                mlp_dim=d.mlp_dim,
                num_heads=d.num_attention_heads,
            ),
        ),
    )


def to_segment_anything(folder):
    """segment_anything's own Sam with the weights of a transformers folder."""
    from transformers import SamModel

    from tests.models import torchvision_stand_in

    torchvision_stand_in.import_segment_anything()
    source = SamModel.from_pretrained(folder).float()
    decoder = source.config.mask_decoder_config
    sam = _segment_anything(
        source.config.vision_config, source.config.prompt_encoder_config, decoder
    )
    wanted = sam.state_dict()
    state = {_meta_name(k): t for k, t in source.state_dict().items()}
    # segment-anything leaves these epsilons at torch's default; transformers' configuration has its
    # own.
    for layer in sam.mask_decoder.transformer.layers:
        for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4):
            norm.eps = decoder.layer_norm_eps
    sam.load_state_dict({k: state[k].reshape(t.shape) for k, t in wanted.items()})
    return sam.eval()


_RENAMES = [
    (r"^vision_encoder", "image_encoder"),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"image_encoder\.layers\.", "image_encoder.blocks."),
    (r"(image_encoder\.blocks\.\d+)\.layer_norm", r"\1.norm"),
    (r"neck\.conv1", "neck.0"),
    (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"),
    (r"neck\.layer_norm2", "neck.3"),
    (r"^shared_image_embedding", "prompt_encoder.pe_layer"),
    (r"positional_embedding$", "positional_encoding_gaussian_matrix"),
    (r"(?<!not_a_)point_embed\.", "point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"(transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"(mlps\.\d+|iou_prediction_head)\.layers\.0\.(weight|bias)$", r"\1.layers.1.\2"),
    (r"(mlps\.\d+|iou_prediction_head)\.proj_out", r"\1.layers.2"),
]


def _meta_name(name):
    """segment-anything's name of a tensor that transformers calls `name`."""
    for pattern, to in _RENAMES:
        name = re.sub(pattern, to, name)
    return name.replace(".proj_in.", ".layers.0.")
