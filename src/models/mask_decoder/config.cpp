#include "models/mask_decoder/config.h"

#include "core/error.h"

namespace segrid::mask_decoder {

void contradiction(const Config& config, const std::string& what) {
    fail(ErrorKind::Corrupt, config.name() + ": " + what);
}

void check_range(const Config& config, const char* key, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return;
    contradiction(config, std::string(key) + " must be from " + std::to_string(low) + " to " +
                              std::to_string(high) + ", got " + std::to_string(value));
}

float read_eps(const Config& config, const std::string& key) {
    return static_cast<float>(config.number(key, 1e-6, {.low = 1e-12, .high = 1}));
}

void check_activation(const Config& config, const std::string& key, const char* only) {
    const std::string got = config.text(key, only);
    if (got != only)
        fail(ErrorKind::Unsupported,
             config.name() + ": " + key + " must be " + only + ", got " + got);
}

DecoderShape read_decoder(const Config& c) {
    DecoderShape d;
    Shape& t = d.transformer;
    t.dim = c.integer("mask_decoder_config.hidden_size", 256);
    t.layers = c.integer("mask_decoder_config.num_hidden_layers", 2);
    t.heads = c.integer("mask_decoder_config.num_attention_heads", 8);
    t.mlp = c.integer("mask_decoder_config.mlp_dim", 2048);
    t.downsample = c.integer("mask_decoder_config.attention_downsample_rate", 2);
    t.eps = read_eps(c, "mask_decoder_config.layer_norm_eps");
    const int64_t multimask = c.integer("mask_decoder_config.num_multimask_outputs", 3);
    d.masks = 1 + multimask;
    d.iou_depth = c.integer("mask_decoder_config.iou_head_depth", 3);
    d.iou_hidden = c.integer("mask_decoder_config.iou_head_hidden_dim", 256);
    check_range(c, "mask_decoder_config.hidden_size", t.dim, 8, 16384);
    check_range(c, "mask_decoder_config.num_hidden_layers", t.layers, 1, 64);
    check_range(c, "mask_decoder_config.num_attention_heads", t.heads, 1, 256);
    check_range(c, "mask_decoder_config.mlp_dim", t.mlp, 1, 65536);
    check_range(c, "mask_decoder_config.attention_downsample_rate", t.downsample, 1, 64);
    check_range(c, "mask_decoder_config.num_multimask_outputs", multimask, 1, 15);
    check_range(c, "mask_decoder_config.iou_head_depth", d.iou_depth, 2, 16);
    check_range(c, "mask_decoder_config.iou_head_hidden_dim", d.iou_hidden, 1, 16384);
    if (t.dim % 8 != 0) contradiction(c, "mask_decoder_config.hidden_size must be a multiple of 8");
    if (t.dim % t.heads != 0 || t.dim % (t.downsample * t.heads) != 0) {
        contradiction(c,
                      "mask_decoder_config.hidden_size must be a multiple of "
                      "attention_downsample_rate x num_attention_heads");
    }
    return d;
}

PromptShape read_prompt(const Config& c, int64_t side, int64_t grid, int64_t dim) {
    PromptShape p{.side = side, .grid = grid, .dim = dim};
    p.mask_channels = c.integer("prompt_encoder_config.mask_input_channels", 16);
    p.eps = read_eps(c, "prompt_encoder_config.layer_norm_eps");
    check_activation(c, "prompt_encoder_config.hidden_act", "gelu");
    check_range(c, "prompt_encoder_config.mask_input_channels", p.mask_channels, 4, 1024);
    return p;
}

}  // namespace segrid::mask_decoder
