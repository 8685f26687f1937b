#include "models/sam/config.h"

#include <algorithm>

#include "core/error.h"

namespace segrid::sam {

bool VisionConfig::is_global(int64_t layer) const {
    return std::find(global_layers.begin(), global_layers.end(), layer) != global_layers.end();
}

SamConfig::SamConfig(const Config& c) {
    const auto corrupt = [](const std::string& what) { fail(ErrorKind::Corrupt, "config.json of a SAM model: " + what); };
    VisionConfig& v = vision;
    v.image = c.integer("vision_config.image_size", 1024);
    v.patch = c.integer("vision_config.patch_size", 16);
    v.channels = c.integer("vision_config.num_channels", 3);
    v.hidden = c.integer("vision_config.hidden_size", 768);
    v.layers = c.integer("vision_config.num_hidden_layers", 12);
    v.heads = c.integer("vision_config.num_attention_heads", 12);
    v.window = c.integer("vision_config.window_size", 14);
    v.output = c.integer("vision_config.output_channels", 256);
    v.mlp = c.integer("vision_config.mlp_dim", 0);
    if (v.mlp == 0) v.mlp = static_cast<int64_t>(static_cast<double>(v.hidden) * c.number("vision_config.mlp_ratio", 4.0));
    v.global_layers = c.integers("vision_config.global_attn_indexes", std::vector<int64_t>{2, 5, 8, 11});
    v.qkv_bias = c.boolean("vision_config.qkv_bias", true);
    v.absolute_positions = c.boolean("vision_config.use_abs_pos", true);
    v.relative_positions = c.boolean("vision_config.use_rel_pos", true);
    v.eps = static_cast<float>(c.number("vision_config.layer_norm_eps", 1e-6));

    DecoderConfig& d = decoder;
    d.hidden = c.integer("mask_decoder_config.hidden_size", 256);
    d.layers = c.integer("mask_decoder_config.num_hidden_layers", 2);
    d.heads = c.integer("mask_decoder_config.num_attention_heads", 8);
    d.mlp = c.integer("mask_decoder_config.mlp_dim", 2048);
    d.downsample = c.integer("mask_decoder_config.attention_downsample_rate", 2);
    d.multimask = c.integer("mask_decoder_config.num_multimask_outputs", 3);
    d.iou_depth = c.integer("mask_decoder_config.iou_head_depth", 3);
    d.iou_hidden = c.integer("mask_decoder_config.iou_head_hidden_dim", 256);
    d.eps = static_cast<float>(c.number("mask_decoder_config.layer_norm_eps", 1e-6));
    prompt.mask_channels = c.integer("prompt_encoder_config.mask_input_channels", 16);
    prompt.eps = static_cast<float>(c.number("prompt_encoder_config.layer_norm_eps", 1e-6));

    const auto within = [&](const char* key, int64_t value, int64_t low, int64_t high) {
        if (value < low || value > high) {
            corrupt(std::string(key) + " must be from " + std::to_string(low) + " to " + std::to_string(high) + ", got " +
                    std::to_string(value));
        }
    };
    within("vision_config.image_size", v.image, 1, 8192);
    within("vision_config.patch_size", v.patch, 1, 256);
    within("vision_config.num_channels", v.channels, 3, 3);
    within("vision_config.hidden_size", v.hidden, 1, 16384);
    within("vision_config.num_hidden_layers", v.layers, 1, 256);
    within("vision_config.num_attention_heads", v.heads, 1, 256);
    within("vision_config.mlp_dim", v.mlp, 1, 65536);
    within("vision_config.window_size", v.window, 0, 1024);
    within("vision_config.output_channels", v.output, 4, 16384);
    within("mask_decoder_config.hidden_size", d.hidden, 8, 16384);
    within("mask_decoder_config.num_hidden_layers", d.layers, 1, 64);
    within("mask_decoder_config.num_attention_heads", d.heads, 1, 256);
    within("mask_decoder_config.mlp_dim", d.mlp, 1, 65536);
    within("mask_decoder_config.attention_downsample_rate", d.downsample, 1, 64);
    within("mask_decoder_config.num_multimask_outputs", d.multimask, 1, 15);
    within("mask_decoder_config.iou_head_depth", d.iou_depth, 2, 16);
    within("mask_decoder_config.iou_head_hidden_dim", d.iou_hidden, 1, 16384);
    within("prompt_encoder_config.mask_input_channels", prompt.mask_channels, 4, 1024);
    if (v.image % v.patch != 0) corrupt("vision_config.image_size must be a multiple of patch_size");
    if (v.grid() > 512) corrupt("vision_config.image_size / patch_size must be at most 512");
    if (v.hidden % v.heads != 0) corrupt("vision_config.hidden_size must be a multiple of num_attention_heads");
    if (v.output != d.hidden) corrupt("vision_config.output_channels must equal mask_decoder_config.hidden_size");
    if (d.hidden % 8 != 0) corrupt("mask_decoder_config.hidden_size must be a multiple of 8");
    if (d.hidden % d.heads != 0 || d.hidden % (d.downsample * d.heads) != 0) {
        corrupt("mask_decoder_config.hidden_size must be a multiple of attention_downsample_rate x num_attention_heads");
    }
}

}  // namespace segrid::sam
