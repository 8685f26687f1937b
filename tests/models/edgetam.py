"""EdgeTAM with seeded random weights, and transformers' models of it with timm's RepViT."""

import contextlib
import math
from types import SimpleNamespace

import torch

from tests.models import seeded_weights, torchvision_stand_in

PRESETS = {
    # The first RepViT models have a BatchNorm in each branch of a convolution, later ones have one
    # after the sum; "wide" is one of these.
    "small": dict(
        image=128,
        architecture="repvit_m1",
        dims=[16, 24, 32, 48],
        depths=[1, 2, 3, 0],
        fpn=64,
        delta=0.3,
        settings=dict(
            memory_attention_mlp_hidden_size=96,
            perceiver_resampler_num_latents=24,
            perceiver_resampler_num_latents_2d=16,
            enable_occlusion_spatial_embedding=False,
            enable_temporal_pos_encoding_for_object_pointers=False,
        ),
    ),
    "wide": dict(
        image=192,
        architecture="repvit_m0_9",
        dims=[24, 40, 56, 80],
        depths=[2, 1, 4, 2],
        fpn=128,
        delta=0.15,
        settings=dict(
            num_maskmem=4,
            memory_attention_num_attention_heads=2,
            perceiver_resampler_num_latents=10,
            perceiver_resampler_num_latents_2d=9,
            perceiver_resampler_mlp_intermediate_size=80,
        ),
    ),
    # The sizes of the published model.
    "edgetam": dict(
        image=1024,
        architecture="repvit_m1",
        fpn=256,
        settings=dict(
            enable_occlusion_spatial_embedding=False,
            enable_temporal_pos_encoding_for_object_pointers=False,
        ),
    ),
}


class Backbone(torch.nn.Module):
    """timm's model as transformers' TimmWrapperModel calls it, which demands torchvision."""

    def __init__(self, config):
        super().__init__()
        timm = torchvision_stand_in.import_timm()
        self.timm_model = timm.create_model(
            config.architecture, pretrained=False, num_classes=0, **config.model_args
        )

    def forward(self, pixel_values, **_):
        return SimpleNamespace(last_hidden_state=self.timm_model(pixel_values), hidden_states=None)


@contextlib.contextmanager
def timm_backbones():
    """transformers' EdgeTAM models that are built in this context get a `Backbone`."""
    from transformers import AutoModel
    from transformers.models.edgetam import modeling_edgetam

    def from_config(config, **settings):
        if config.model_type == "timm_wrapper":
            return Backbone(config)
        return AutoModel.from_config(config, **settings)

    modeling_edgetam.AutoModel = SimpleNamespace(from_config=from_config)
    try:
        yield
    finally:
        modeling_edgetam.AutoModel = AutoModel


def parts_of(preset, video):
    """The settings of transformers' EdgeTamConfig (or, with video, EdgeTamVideoConfig)."""
    c = PRESETS[preset]
    grid = c["image"] // 4
    args = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    if "dims" in c:
        args |= {"embed_dim": c["dims"], "depth": c["depths"]}
    model_type = "edgetam_video" if video else "edgetam"
    return {
        "vision_config": dict(
            model_type="edgetam_vision_model",
            backbone_config=dict(
                model_type="timm_wrapper",
                architecture=c["architecture"],
                model_args=args,
                num_classes=2,
                label_names=["LABEL_0", "LABEL_1"],
            ),
            backbone_channel_list=c.get("dims", [48, 96, 192, 384])[::-1],
            backbone_feature_sizes=[[grid] * 2, [grid // 2] * 2, [grid // 4] * 2],
            fpn_hidden_size=c["fpn"],
        ),
        "prompt_encoder_config": dict(
            model_type=f"{model_type}_prompt_encoder", hidden_size=c["fpn"], image_size=c["image"]
        ),
        "mask_decoder_config": dict(
            model_type=f"{model_type}_mask_decoder",
            hidden_size=c["fpn"],
            mlp_dim=4 * c["fpn"],
            iou_head_hidden_dim=c["fpn"],
            dynamic_multimask_stability_delta=c.get("delta", 0.05),
        ),
    }


def make(preset, folder, seed=0):
    """Writes config.json and model.safetensors of a preset into `folder` in transformers' format
    (EdgeTamModel), and returns the folder."""
    from transformers import EdgeTamConfig, EdgeTamModel

    torch.manual_seed(seed)
    with timm_backbones():
        model = EdgeTamModel(EdgeTamConfig(**parts_of(preset, video=False)))
    return seeded_weights.save(model, _calibrate, folder)


def make_video(preset, folder, seed=0, **settings):
    """As `make`, for transformers' EdgeTamVideoModel: with the memory of video.

    settings : of EdgeTamVideoConfig, beyond the preset's"""
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel

    c = PRESETS[preset]
    latents = (c["settings"] | settings).get("perceiver_resampler_num_latents_2d", 256)
    config = EdgeTamVideoConfig(
        **parts_of(preset, video=True),
        image_size=c["image"],
        memory_attention_hidden_size=c["fpn"],
        memory_attention_rope_feat_sizes=[c["image"] // 16] * 2,
        memory_attention_rope_k_sizes=[math.isqrt(latents)] * 2,
        memory_encoder_hidden_size=c["fpn"],
        mask_downsampler_embed_dim=c["fpn"],
        memory_fuser_embed_dim=c["fpn"],
        memory_fuser_intermediate_dim=2 * c["fpn"],
        **(c["settings"] | settings),
    )
    torch.manual_seed(seed)
    with timm_backbones():
        model = EdgeTamVideoModel(config)
    return seeded_weights.save(model, _calibrate_video, folder)


def original(folder, video=False):
    """transformers' EdgeTamModel (or EdgeTamVideoModel) of a folder."""
    from transformers import EdgeTamModel, EdgeTamVideoModel

    with timm_backbones():
        return (EdgeTamVideoModel if video else EdgeTamModel).from_pretrained(folder).eval()


# (transformers, original): names of the video part, and of what SAM 2 does not have.
ORIGINAL_RULES = [
    (r"^vision_encoder\.backbone\.timm_model\.", "image_encoder.trunk.body."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    (r"^(memory_encoder\.fuser\..+)\.scale$", r"\1.gamma"),
    (r"^(memory_encoder\.fuser\..+)\.layer_norm\.", r"\1.norm."),
    (r"^memory_attention\.layer_norm\.", "memory_attention.norm."),
    (r"^(memory_attention\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.up_proj\.", r"\1.linear1."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.down_proj\.", r"\1.linear2."),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^spatial_perceiver\.latents_1d$", "spatial_perceiver.latents"),
    (r"^spatial_perceiver\.layer_norm\.", "spatial_perceiver.norm."),
    (r"\.layer_norm_input\.", ".attn.norm_x."),
    (r"\.layer_norm_latents\.", ".attn.norm_latents."),
    (r"\.layer_norm_self\.", ".self_attn.norm."),
    (r"\.cross_attention\.q_proj\.", ".attn.to_q."),
    (r"\.cross_attention\.k_proj\.", ".attn.to_kv."),
    (r"\.cross_attention\.o_proj\.", ".attn.to_out."),
    (r"\.self_attention\.q_proj\.", ".self_attn.to_q."),
    (r"\.self_attention\.k_proj\.", ".self_attn.to_kv."),
    (r"\.self_attention\.o_proj\.", ".self_attn.to_out."),
    (r"^(spatial_perceiver\..+)\.(self_)?mlp\.layer_norm\.", r"\1.\2ff.0."),
    (r"^(spatial_perceiver\..+)\.(self_)?mlp\.up_proj\.", r"\1.\2ff.1."),
    (r"^(spatial_perceiver\..+)\.(self_)?mlp\.down_proj\.", r"\1.\2ff.3."),
]


def checkpoint(model):
    """The tensors of transformers' EdgeTamVideoModel, as edgetam.pt names them."""
    from segrid.convert import names, sam2

    weights = model.state_dict()
    weights.pop(sam2.VIDEO_POSITIONS)  # the same matrix again
    layers = len(model.memory_encoder.mask_downsampler.layers)
    for name in [n for n in weights if "mask_downsampler" in n]:
        part = name.split("mask_downsampler.")[1]
        number, kind = 3 * layers, part.split(".")[-1]
        if part.startswith("layers."):
            number = 3 * int(part.split(".")[1]) + ("layer_norm" in part)
        weights[f"memory_encoder.mask_downsampler.encoder.{number}.{kind}"] = weights.pop(name)
    for name in [n for n in weights if n.startswith("spatial_perceiver") and "k_proj" in n]:
        value = weights.pop(name.replace("k_proj", "v_proj"))
        weights[name] = torch.cat([weights[name], value])
    originals = names.original_names(weights, [*ORIGINAL_RULES, *sam2.ORIGINAL_RULES])
    out = {originals[name]: value for name, value in weights.items()}
    points = out.pop("sam_prompt_encoder.point_embed.weight")
    for i, point in enumerate(points):
        out[f"sam_prompt_encoder.point_embeddings.{i}.weight"] = point[None]
    return out


def _fill_encoder(model):
    """Random weights, and the statistics that a random image gives its BatchNorms. Random
    statistics would let the features grow a thousandfold from stage to stage."""
    backbone = model.vision_encoder.backbone
    for name, p in backbone.named_parameters():
        if p.ndim > 1:
            p.copy_(torch.randn_like(p) / math.sqrt(math.prod(p.shape[1:])))
        elif name.endswith("weight"):
            p.copy_(1 + 0.2 * torch.randn_like(p))
        else:
            p.copy_(0.3 * torch.randn_like(p))
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    side = model.config.prompt_encoder_config.image_size
    noise = torch.randn(1, 3, side // 8, side // 8)
    backbone.train()(torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear"))
    backbone.eval()
    for norm in norms:
        norm.momentum = 0.1


def _calibrate_video(model):
    """Random values, large enough that each part of the memory shows in the results."""
    _fill_encoder(model)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(
        model.shared_image_embedding.positional_embedding
    )
    for block in model.memory_encoder.memory_fuser.layers:
        block.scale.fill_(0.5)  # its initial 1e-6 would hide the block


def _calibrate(model):
    _fill_encoder(model)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(
        model.shared_image_embedding.positional_embedding
    )
    out = seeded_weights.clicks(model, model.config.prompt_encoder_config.image_size)
    seeded_weights.spread(
        model, out.pred_masks, torch.logit(out.iou_scores.clamp(1e-6, 1 - 1e-6)), 1.5, 0.6
    )
