"""sam2's own video predictor with the weights and the settings of a model folder."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from segrid.convert import sam2 as image_names
from segrid.convert import sam2_memory as memory_names
from segrid.convert.names import original_names


def load(folder, vos_optimized=False, **settings):
    """sam2's SAM2VideoPredictor as build_sam2_video_predictor makes it, post-processing included,
    on the CPU.

    folder   : of a Sam2VideoModel whose heads double from stage to stage, as sam2's do
    settings : attributes of the predictor to set, such as non_overlap_masks"""
    from tests.models import torchvision_stand_in

    torchvision_stand_in.import_sam2()
    from sam2.build_sam import build_sam2_video_predictor

    config = json.loads((Path(folder) / "config.json").read_text())
    flavour = "sam2.1" if config["enable_occlusion_spatial_embedding"] else "sam2"
    predictor = build_sam2_video_predictor(
        f"configs/{flavour}/{flavour}_hiera_t.yaml",
        device="cpu",
        hydra_overrides_extra=[f"++model.{k}={v}" for k, v in _overrides(config).items()],
        vos_optimized=vos_optimized,
    )
    _put(predictor, load_file(Path(folder) / "model.safetensors"))
    for name, value in settings.items():
        if not hasattr(predictor, name):
            raise AttributeError(f"sam2's predictor has no setting {name}")
        setattr(predictor, name, value)
    for name in ("delta", "thresh"):  # (the builder sets its own)
        key = f"dynamic_multimask_stability_{name}"
        setattr(predictor.sam_mask_decoder, key, config["mask_decoder_config"][key])
    predictor.memory_attention.register_forward_pre_hook(_in_fp32, with_kwargs=True)
    return predictor.eval()


def _in_fp32(_, positional, named):
    """Memory is kept in bf16. Without an object pointer among it (an object that is followed back
    to frames before its prompt), sam2 does not raise it to fp32, and stops in the first product."""
    if not torch.is_autocast_enabled(named["memory"].device.type):
        named["memory"] = named["memory"].float()
    return positional, named


def _overrides(config):
    """What sam2's configuration of its tiny model must say instead, by its own names."""
    backbone = config["vision_config"]["backbone_config"]
    dim, grid = config["memory_attention_hidden_size"], config["image_size"] // 16
    widths, heads = backbone["embed_dim_per_stage"], backbone["num_attention_heads_per_stage"]
    if any(2 * a != b for sizes in (widths, heads) for a, b in zip(sizes, sizes[1:], strict=False)):
        raise ValueError(f"sam2 doubles widths and heads at every stage, not {widths}, {heads}")
    values = {
        "image_size": config["image_size"],
        "num_maskmem": config["num_maskmem"],
        "max_cond_frames_in_attn": config["max_cond_frame_num"],
        "max_obj_ptrs_in_encoder": config["max_object_pointers_in_encoder"],
        "multimask_output_for_tracking": config["multimask_output_for_tracking"],
        "image_encoder.trunk.embed_dim": widths[0],
        "image_encoder.trunk.num_heads": heads[0],
        "image_encoder.trunk.stages": backbone["blocks_per_stage"],
        "image_encoder.trunk.window_spec": backbone["window_size_per_stage"],
        "image_encoder.trunk.global_att_blocks": backbone["global_attention_blocks"],
        "image_encoder.trunk.window_pos_embed_bkg_spatial_size": (
            backbone["window_positional_embedding_background_size"]
        ),
        "image_encoder.neck.d_model": dim,
        "image_encoder.neck.position_encoding.num_pos_feats": dim,
        "image_encoder.neck.backbone_channel_list": widths[::-1],
        "memory_attention.d_model": dim,
        "memory_attention.num_layers": config["memory_attention_num_layers"],
        "memory_attention.layer.d_model": dim,
        "memory_attention.layer.dim_feedforward": (
            config["memory_attention_feed_forward_hidden_size"]
        ),
        "memory_encoder.out_dim": config["memory_encoder_output_channels"],
        "+memory_encoder.in_dim": dim,
        "memory_encoder.position_encoding.num_pos_feats": config["memory_encoder_output_channels"],
        "+memory_encoder.mask_downsampler.embed_dim": dim,
        "memory_encoder.fuser.layer.dim": dim,
        "memory_encoder.fuser.num_layers": config["memory_fuser_num_layers"],
    }
    for kind in ("self", "cross"):
        values[f"memory_attention.layer.{kind}_attention.embedding_dim"] = dim
        values[f"memory_attention.layer.{kind}_attention.feat_sizes"] = [grid, grid]
    values["memory_attention.layer.cross_attention.kv_in_dim"] = config[
        "memory_encoder_output_channels"
    ]
    return {name.removeprefix("+"): value for name, value in values.items()}


@torch.no_grad()
def _put(predictor, tensors):
    """Sets every parameter. Those of a few layers get another shape than sam2's builder gave them:
    it fixes the hidden sizes of the decoder and of the memory's fuser."""
    own = predictor.state_dict()
    names = {theirs: ours for ours, theirs in memory_names.convert({n: n for n in own}).items()}
    memory = set(names.values())
    originals = original_names([n for n in tensors if n not in memory], image_names.ORIGINAL_RULES)
    names |= {theirs: ours for ours, theirs in originals.items()}
    for name in own:
        if name.startswith(image_names.ORIGINAL_POINTS):
            row = int(name.split(".")[-2])
            value = tensors[image_names.POINTS][row : row + 1]
        else:
            value = tensors[names[name]]
        owner, _, leaf = name.rpartition(".")
        module = predictor.get_submodule(owner)
        if leaf in module._buffers:
            module._buffers[leaf] = value.clone()
        else:
            setattr(module, leaf, torch.nn.Parameter(value.clone(), requires_grad=False))


def connected_components(mask):
    """What sam2's CUDA extension computes: the components of 8-connected pixels of (N, 1, H, W)
    masks, as (labels, areas), both 0 outside. Its kernel (connected_components.cu) first takes
    blocks of 2 x 2 pixels as connected, then joins blocks whose pixels touch, corners included."""
    from scipy import ndimage

    labels, areas = [], []
    for one in mask[:, 0].numpy():
        found, _ = ndimage.label(one, structure=np.ones((3, 3)))
        area = np.bincount(found.ravel())
        area[0] = 0
        labels.append(torch.from_numpy(found.astype(np.int32)))
        areas.append(torch.from_numpy(area[found].astype(np.int32)))
    return torch.stack(labels)[:, None], torch.stack(areas)[:, None]


def fills_holes(replace=setattr):
    """Gives sam2 `connected_components`: on CPUs it leaves out the filling of holes with a warning,
    because its CUDA extension is missing.

    replace : sets an attribute of a module, for good or, as monkeypatch.setattr, for a while"""
    from tests.models import torchvision_stand_in

    torchvision_stand_in.import_sam2()
    from sam2.utils import misc

    replace(misc, "get_connected_components", connected_components)
