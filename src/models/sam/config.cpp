#include "models/sam/config.h"

#include <algorithm>

#include "core/error.h"

namespace segrid::sam {

using mask_decoder::check_range;

bool VisionConfig::is_global(int64_t layer) const {
    return std::find(global_layers.begin(), global_layers.end(), layer) != global_layers.end();
}

SamConfig::SamConfig(const Config& c) {
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
    if (v.mlp == 0)
        v.mlp = static_cast<int64_t>(static_cast<double>(v.hidden) *
                                     c.number("vision_config.mlp_ratio", 4.0));
    v.global_layers =
        c.integers("vision_config.global_attn_indexes", std::vector<int64_t>{2, 5, 8, 11});
    v.qkv_bias = c.boolean("vision_config.qkv_bias", true);
    v.absolute_positions = c.boolean("vision_config.use_abs_pos", true);
    v.relative_positions = c.boolean("vision_config.use_rel_pos", true);
    v.eps = mask_decoder::read_eps(c, "vision_config.layer_norm_eps");

    decoder = mask_decoder::read_decoder(c);

    mask_decoder::check_activation(c, "vision_config.hidden_act", "gelu");
    mask_decoder::check_activation(c, "mask_decoder_config.hidden_act", "relu");
    check_range(c, "vision_config.image_size", v.image, 1, 8192);
    check_range(c, "vision_config.patch_size", v.patch, 1, 256);
    check_range(c, "vision_config.num_channels", v.channels, 3, 3);
    check_range(c, "vision_config.hidden_size", v.hidden, 1, 16384);
    check_range(c, "vision_config.num_hidden_layers", v.layers, 1, 256);
    check_range(c, "vision_config.num_attention_heads", v.heads, 1, 256);
    check_range(c, "vision_config.mlp_dim", v.mlp, 1, 65536);
    check_range(c, "vision_config.window_size", v.window, 0, 1024);
    check_range(c, "vision_config.output_channels", v.output, 4, 16384);
    if (v.image % v.patch != 0)
        mask_decoder::contradiction(c, "vision_config.image_size must be a multiple of patch_size");
    if (v.grid() > 512)
        mask_decoder::contradiction(c, "vision_config.image_size / patch_size must be at most 512");
    if (v.hidden % v.heads != 0)
        mask_decoder::contradiction(
            c, "vision_config.hidden_size must be a multiple of num_attention_heads");
    if (v.output != decoder.transformer.dim)
        mask_decoder::contradiction(
            c, "vision_config.output_channels must equal mask_decoder_config.hidden_size");
    if (c.integer("prompt_encoder_config.image_size", v.image) != v.image)
        mask_decoder::contradiction(
            c, "prompt_encoder_config.image_size must equal vision_config.image_size");
    prompt = mask_decoder::read_prompt(c, v.image, v.grid(), v.output);
}

}  // namespace segrid::sam
