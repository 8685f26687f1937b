#include "models/mobile_sam/tiny_vit.h"

#include <string>

#include "models/mask_decoder/config.h"

namespace segrid::mobile_sam {
namespace {

sam::VisionConfig neck_config(const TinyVitConfig& c) {
    sam::VisionConfig v;
    v.image = c.image;
    v.patch = 16;
    v.hidden = c.dims.back();
    v.output = c.output;
    return v;
}

}  // namespace

BottleneckShape TinyVitConfig::convolution() const {
    const auto hidden = static_cast<int64_t>(static_cast<double>(dims[0]) * expand);
    return {.side = grid(0), .in = dims[0], .hidden = hidden, .out = dims[0], .residual = true};
}

BottleneckShape TinyVitConfig::merge(std::size_t stage) const {
    return {.side = grid(stage - 1),
            .in = dims[stage - 1],
            .hidden = dims[stage],
            .out = dims[stage],
            .stride = grid(stage - 1) / grid(stage)};
}

TinyVitConfig::TinyVitConfig(const Config& c) {
    const std::string v = "vision_config.";
    image = c.integer(v + "image_size", image, {.low = 16, .high = 8192});
    output = c.integer(v + "output_channels", output, {.low = 4, .high = 16384});
    dims = c.integers(v + "embed_dims", dims, {.low = 2, .high = 16384});
    depths = c.integers(v + "depths", depths, {.low = 1, .high = 256});
    heads = c.integers(v + "num_heads", heads, {.low = 1, .high = 256});
    windows = c.integers(v + "window_sizes", windows, {.low = 1, .high = 256});
    mlp_ratio = c.number(v + "mlp_ratio", mlp_ratio, {.low = 0.01, .high = 64});
    expand = c.number(v + "mbconv_expand_ratio", expand, {.low = 0.01, .high = 64});
    for (const auto* list : {&dims, &depths, &heads, &windows}) {
        if (list->size() != kStages)
            mask_decoder::contradiction(
                c,
                v + "embed_dims, depths, num_heads and window_sizes must have four numbers each");
    }
    for (std::size_t s = 0; s < kStages; ++s) {
        if (dims[s] % heads[s] != 0 || dims[s] % 2 != 0)
            mask_decoder::contradiction(c,
                                        v + "embed_dims must be even and multiples of num_heads");
    }
    if (mask_decoder::read_decoder(c).transformer.dim != output) {
        mask_decoder::contradiction(
            c, v + "output_channels must equal mask_decoder_config.hidden_size");
    }
    if (image % 16 != 0) mask_decoder::contradiction(c, v + "image_size must be a multiple of 16");
}

TinyVit::TinyVit(const WeightScope& s, const TinyVitConfig& c)
    : stem_(s / "patch_embed" / "seq" / "0", s / "patch_embed" / "seq" / "2", c.image, c.dims[0]),
      neck_(s / "neck", neck_config(c)) {
    const WeightScope layers = s / "layers";
    for (int64_t i = 0; i < c.depths[0]; ++i) {
        convolutions_.emplace_back(layers / "0" / "blocks" / i, c.convolution());
    }
    for (std::size_t stage = 1; stage < kStages; ++stage) {
        merges_.emplace_back(layers / static_cast<int64_t>(stage - 1) / "downsample",
                             c.merge(stage));
        auto& blocks = stages_.emplace_back();
        for (int64_t i = 0; i < c.depths[stage]; ++i)
            blocks.emplace_back(layers / static_cast<int64_t>(stage) / "blocks" / i, c, stage);
    }
}

at::Tensor TinyVit::operator()(const ModelInput& input, const Schedule& schedule,
                               const Tap* tap) const {
    const auto tell = [&](const std::string& name, const at::Tensor& value) {
        if (tap != nullptr) (*tap)(name, value.clone());
    };
    at::Tensor x = stem_(input, PreprocessSpec{}, schedule);
    tell("patch_embed", x);
    for (const Bottleneck& block : convolutions_) x = block(x, schedule);
    TokenBuffers buffers;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
        x = merges_[i](x, schedule);
        tell("stage_" + std::to_string(i), x);
        for (const Block& block : stages_[i]) x = block(std::move(x), buffers, schedule);
    }
    tell("stage_3", x);
    at::Tensor features = neck_(x, schedule);
    tell("neck", features);
    return features;
}

}  // namespace segrid::mobile_sam
