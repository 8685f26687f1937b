#include "models/edgetam/config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "core/error.h"

namespace segrid::edgetam {
namespace {

using mask_decoder::contradiction;

const std::string b = "vision_config.backbone_config.", args = b + "model_args.";

[[noreturn]] void unsupported(const Config& c, const std::string& what) {
    fail(ErrorKind::Unsupported, c.name() + ": " + what);
}

// timm's models.
struct Architecture {
    std::string_view name;
    std::vector<int64_t> dims, depths;
    bool norm_per_branch;
};
const Architecture kArchitectures[] = {
    {"repvit_m1", {48, 96, 192, 384}, {2, 2, 14, 2}, true},
    {"repvit_m2", {64, 128, 256, 512}, {2, 2, 12, 2}, true},
    {"repvit_m3", {64, 128, 256, 512}, {4, 4, 18, 2}, true},
    {"repvit_m0_9", {48, 96, 192, 384}, {2, 2, 14, 2}, false},
    {"repvit_m1_0", {56, 112, 224, 448}, {2, 2, 14, 2}, false},
    {"repvit_m1_1", {64, 128, 256, 512}, {2, 2, 12, 2}, false},
    {"repvit_m1_5", {64, 128, 256, 512}, {4, 4, 24, 4}, false},
    {"repvit_m2_3", {80, 160, 320, 640}, {6, 6, 34, 2}, false},
};

const Architecture& architecture(const Config& c) {
    const std::string full = c.text(b + "architecture"), name = full.substr(0, full.find('.'));
    const auto* found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                     [&](const Architecture& a) { return a.name == name; });
    if (c.text(b + "model_type", "timm_wrapper") != "timm_wrapper" ||
        found == std::end(kArchitectures)) {
        unsupported(c, b + "architecture must be one of timm's RepViT models, such as repvit_m1; " +
                           "it is " + full);
    }
    return *found;
}

sam2::StageShapes stages_of(const RepVitConfig& r) {
    sam2::StageShapes s{.image = r.image, .sides = {}, .dims = r.dims};
    for (std::size_t stage = 0; stage < kStages; ++stage) s.sides.push_back(r.grid(stage));
    return s;
}

sam2::MemoryAttentionConfig attention_defaults() {
    sam2::MemoryAttentionConfig a;
    a.layers = 2;
    a.mlp_key = "mlp";
    a.mlp_in = "mlp.up_proj";
    a.mlp_out = "mlp.down_proj";
    return a;
}

}  // namespace

RepVitConfig::RepVitConfig(const Config& c) {
    const Architecture& known = architecture(c);
    image = c.side("prompt_encoder_config.image_size", image, {.low = 32, .high = 8192});
    dims = c.integers(args + "embed_dim", known.dims, {.low = 2, .high = 16384});
    depths = c.integers(args + "depth", known.depths, {.low = 0, .high = 256});
    mlp_ratio = c.integer(args + "mlp_ratio", mlp_ratio, {.low = 1, .high = 64});
    norm_per_branch = c.boolean(args + "legacy", known.norm_per_branch);
    if (dims.size() != kStages || depths.size() != kStages)
        unsupported(c, args + "embed_dim and depth must have four numbers each, one per stage");
    if (dims[0] % 2 != 0) contradiction(c, args + "embed_dim: the first must be even");
    if (image % 32 != 0) {
        unsupported(c, "prompt_encoder_config.image_size must be a multiple of 32; it is " +
                           std::to_string(image));
    }
    const std::vector<int64_t> all{0, 1, 2, 3};
    if (c.integer(args + "kernel_size", 3) != 3 || c.integer(args + "in_chans", 3) != 3 ||
        c.integers(args + "out_indices", all) != all) {
        unsupported(
            c, args + "kernel_size and in_chans must be 3, and out_indices must be [0, 1, 2, 3]");
    }
}

EdgeTamConfig::EdgeTamConfig(const Config& c) : EdgeTamConfig(c, RepVitConfig(c)) {}

EdgeTamConfig::EdgeTamConfig(const Config& c, RepVitConfig r)
    : ImageConfig(c, stages_of(r)), repvit(std::move(r)) {}

MemoryConfig::MemoryConfig(const Config& c, const sam2::ImageConfig& image)
    : sam2::MemoryConfig(c, image, attention_defaults()) {
    const std::string key = "perceiver_resampler_";
    PerceiverConfig& p = perceiver;
    p.global = c.integer(key + "num_latents", p.global, {.low = 0, .high = 65536});
    const int64_t placed =
        c.integer(key + "num_latents_2d", p.square * p.square, {.low = 1, .high = 65536});
    p.square = std::lround(std::sqrt(static_cast<double>(placed)));
    p.layers = c.integer(key + "num_layers", p.layers, {.low = 1, .high = 64});
    p.hidden = c.integer(key + "mlp_intermediate_size", p.hidden, {.low = 1, .high = 65536});
    if (pooling != 1) unsupported(c, "memory_pooling: its perceiver condenses the memory already");
    unplaced = p.global;
    memory_grid = p.square;
    if (p.square * p.square != placed || grid % p.square != 0) {
        contradiction(c, key + "num_latents_2d must be a square number, whose root divides the " +
                             std::to_string(grid) + " image tokens along a side");
    }
    const int64_t channels = encoder.channels;
    if (c.integer(key + "num_attention_heads", 1) != 1)
        unsupported(c, key + "num_attention_heads must be 1");
    if (c.integer(key + "hidden_size", 64) != channels ||
        c.integer(key + "attention_head_dim", 64) != channels) {
        contradiction(c, key +
                             "hidden_size and attention_head_dim must equal "
                             "memory_encoder_output_channels");
    }
    if (c.side("memory_attention_rope_feat_sizes", 64) != grid ||
        c.side("memory_attention_rope_k_sizes", 16) != p.square) {
        contradiction(c,
                      "memory_attention_rope_feat_sizes must be the image tokens along a side, and "
                      "memory_attention_rope_k_sizes the root of " +
                          key + "num_latents_2d");
    }
}

}  // namespace segrid::edgetam
