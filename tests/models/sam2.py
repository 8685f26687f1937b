"""SAM 2.1 models with seeded random weights, whose logits have both signs and whose predicted IoUs
are spread; and such weights for the original sam2."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.models import seeded_weights, video_weights

PRESETS = {
    # At this delta about half of the random single masks are stable enough.
    "small": dict(
        image=128,
        dims=[24, 48, 96, 192],
        heads=[1, 2, 4, 8],
        blocks=[1, 2, 3, 1],
        windows=[8, 4, 6, 4],
        glob=[4],
        background=7,
        fpn=64,
        delta=0.3,
    ),
    "odd": dict(
        image=160,
        dims=[24, 48, 96, 192],
        heads=[1, 2, 4, 8],
        blocks=[1, 1, 2, 1],
        windows=[8, 4, 6, 4],
        glob=[3],
        background=7,
        fpn=64,
    ),
    "wide": dict(
        image=256,
        dims=[32, 64, 128, 256],
        heads=[2, 2, 4, 4],
        blocks=[2, 1, 2, 2],
        windows=[8, 6, 14, 7],
        glob=[4, 6],
        background=5,
        fpn=128,
        delta=0.15,
    ),
    # For videos: memory has 64 channels everywhere, and here fewer than the features, as published
    # models have it; heads double from stage to stage, so that sam2 can load it.
    "clip": dict(
        image=128,
        dims=[24, 48, 96, 192],
        heads=[1, 2, 4, 8],
        blocks=[1, 2, 3, 1],
        windows=[8, 4, 6, 4],
        glob=[4],
        background=7,
        fpn=128,
        tracked=12,
    ),
    # The image side of published models, which sam2's predictor of images expects, and hardly
    # anything behind it.
    "thin": dict(
        image=1024,
        dims=[16, 32, 64, 128],
        heads=[1, 2, 4, 8],
        blocks=[1, 1, 2, 1],
        windows=[8, 4, 14, 7],
        glob=[3],
        background=7,
        fpn=64,
        delta=0.15,
    ),
    "tiny": dict(
        image=1024,
        dims=[96, 192, 384, 768],
        heads=[1, 2, 4, 8],
        blocks=[1, 2, 7, 2],
        windows=[8, 4, 14, 7],
        glob=[5, 7, 9],
        background=7,
        fpn=256,
        mlp=2048,  # of the decoder, as the memory attention's
        fuser=1024,
        tracked=2,
    ),
}


def config_of(preset):
    """transformers' Sam2Config of a preset."""
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2VisionConfig

    c = PRESETS[preset]
    grid = c["image"] // 4
    backbone = Sam2HieraDetConfig(
        hidden_size=c["dims"][0],
        num_attention_heads=c["heads"][0],
        image_size=[c["image"]] * 2,
        blocks_per_stage=c["blocks"],
        embed_dim_per_stage=c["dims"],
        num_attention_heads_per_stage=c["heads"],
        window_size_per_stage=c["windows"],
        global_attention_blocks=c["glob"],
        window_positional_embedding_background_size=[c["background"]] * 2,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=c["dims"][::-1],
        fpn_hidden_size=c["fpn"],
        backbone_feature_sizes=[[grid] * 2, [grid // 2] * 2, [grid // 4] * 2],
    )
    return Sam2Config(
        vision_config=vision,
        prompt_encoder_config=dict(hidden_size=c["fpn"], image_size=c["image"]),
        mask_decoder_config=dict(
            hidden_size=c["fpn"],
            mlp_dim=c.get("mlp", 4 * c["fpn"]),
            iou_head_hidden_dim=c["fpn"],
            dynamic_multimask_stability_delta=c.get("delta", 0.05),
        ),
    )


def make(preset, folder, seed=0):
    """Writes config.json and model.safetensors of a preset into `folder` in transformers' format,
    and returns the folder."""
    from transformers import Sam2Model

    torch.manual_seed(seed)
    return seeded_weights.save(Sam2Model(config_of(preset)), _calibrate, folder)


def make_video(preset, folder, seed=0, **settings):
    """As `make`, for transformers' Sam2VideoModel: with the memory of video. Weights of the presets
    "clip" and "tiny" track (see video_weights.py); those of "tiny" never lose an object.

    settings : of Sam2VideoConfig, such as enable_occlusion_spatial_embedding"""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    c, image = PRESETS[preset], config_of(preset)
    grid = image.prompt_encoder_config.image_size // 16
    parts = {
        "vision_config": image.vision_config.to_dict(),
        "prompt_encoder_config": image.prompt_encoder_config.to_dict(),
        "mask_decoder_config": image.mask_decoder_config.to_dict(),
    }
    for name in ("prompt_encoder", "mask_decoder"):
        parts[f"{name}_config"]["model_type"] = f"sam2_video_{name}"
    dim = c["fpn"]
    sizes = dict(
        image_size=image.prompt_encoder_config.image_size,
        memory_attention_hidden_size=dim,
        memory_attention_feed_forward_hidden_size=c.get("mlp", 2 * dim),
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_encoder_hidden_size=dim,
        mask_downsampler_embed_dim=dim,
        memory_fuser_embed_dim=dim,
        memory_fuser_intermediate_dim=c.get("fuser", 2 * dim),
    )
    config = Sam2VideoConfig(**parts, **sizes | settings)
    torch.manual_seed(seed)
    calibrate = functools.partial(video_weights.calibrate, frames=c.get("tracked", 0))
    return seeded_weights.save(Sam2VideoModel(config), calibrate, folder)


def make_both(preset, folder):
    """As `make_video`, with the weights of `make` where both have them: for sam2's own predictor of
    images (`sam2_predictor.load`), which needs masks of both signs and no memory."""
    folder = make_video(preset, folder)
    tensors = load_file(folder / "model.safetensors")
    with tempfile.TemporaryDirectory() as scratch:
        tensors |= load_file(make(preset, Path(scratch)) / "model.safetensors")
    save_file(tensors, folder / "model.safetensors")
    return folder


def of_side(folder, side, target):
    """Writes the weights of a video model to the folder `target` with another image side: no tensor
    depends on it. Returns `target`."""
    config = json.loads((Path(folder) / "config.json").read_text())
    vision, grid = config["vision_config"], side // 4
    config["image_size"] = config["prompt_encoder_config"]["image_size"] = side
    vision["backbone_config"]["image_size"] = [side, side]
    vision["backbone_feature_sizes"] = [[grid] * 2, [grid // 2] * 2, [grid // 4] * 2]
    config["memory_attention_rope_feat_sizes"] = [grid // 4] * 2
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps(config))
    shutil.copyfile(Path(folder) / "model.safetensors", target / "model.safetensors")
    return target


def _calibrate(model):
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(
        model.shared_image_embedding.positional_embedding
    )
    out = seeded_weights.clicks(model, model.config.prompt_encoder_config.image_size)
    seeded_weights.spread(
        model, out.pred_masks, torch.logit(out.iou_scores.clamp(1e-6, 1 - 1e-6)), 1.5, 0.6
    )


def original(name, seed=0, calibrated=True):
    """sam2's own model for one of its configurations ("sam2.1_hiera_t") with seeded random weights,
    which are scaled like those of `make` where calibrated."""
    from tests.models import torchvision_stand_in

    torchvision_stand_in.import_sam2()
    from sam2.build_sam import build_sam2

    torch.manual_seed(seed)
    model = build_sam2(f"configs/{name.split('_')[0]}/{name}.yaml", device="cpu")
    if calibrated:
        with torch.no_grad():
            for full, p in model.named_parameters():
                hf = (
                    full.replace("point_embeddings", "point_embed")
                    .replace("output_upscaling", "upscale_conv")
                    .replace("no_mem_embed", "no_memory")
                )
                if p.ndim == 1:
                    hf = "norm.weight" if full.endswith("weight") else "bias"
                p.copy_(seeded_weights.value(hf, p))
            for mlp in model.sam_mask_decoder.output_hypernetworks_mlps:
                mlp.layers[-1].weight.mul_(2)
            model.sam_mask_decoder.iou_prediction_head.layers[-1].weight.mul_(0.5)
            model.sam_mask_decoder.iou_prediction_head.layers[-1].bias.add_(1.5)
    return model


def converted(name, folder):
    """Writes the weights of original(name) as a model folder and returns it."""
    from segrid.convert import convert

    with tempfile.TemporaryDirectory() as scratch:
        torch.save({"model": original(name).state_dict()}, Path(scratch) / "model.pt")
        convert(Path(scratch) / "model.pt", folder)
    return Path(folder)
