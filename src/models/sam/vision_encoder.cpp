#include "models/sam/vision_encoder.h"

#include <ATen/Functions.h>

#include "core/fresh_tensor.h"

namespace segrid::sam {

VisionEncoder::VisionEncoder(const WeightScope& scope, const VisionConfig& c)
    : config_(c), patches_(scope, c), neck_(scope / "neck", c) {
    blocks_.reserve(static_cast<std::size_t>(c.layers));
    for (int64_t layer = 0; layer < c.layers; ++layer)
        blocks_.emplace_back(scope / "layers" / std::to_string(layer), c, layer);
}

at::Tensor VisionEncoder::operator()(const ModelInput& input, const Schedule& schedule,
                                     const Tap* tap) const {
    const int64_t grid = config_.grid();
    at::Tensor tokens = fresh_tensor({grid * grid, config_.hidden});
    float* data = tokens.mutable_data_ptr<float>();
    parallel_for(grid, schedule, [&](int64_t y, Worker& worker) {
        patches_(y, input, data + y * grid * config_.hidden, worker.arena);
    });
    if (tap != nullptr) (*tap)("patch_embed", tokens.clone());
    TokenBuffers buffers;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
        blocks_[i](tokens, buffers, schedule);
        if (tap != nullptr) (*tap)("block_" + std::to_string(i), tokens.clone());
    }
    at::Tensor features = neck_(tokens, schedule);
    if (tap != nullptr) (*tap)("neck", features.clone());
    return features;
}

}  // namespace segrid::sam
