#include "models/sam2/hiera.h"

#include <ATen/Functions.h>

#include <string>

#include "core/fresh_tensor.h"

namespace segrid::sam2 {

Hiera::Hiera(const WeightScope& vision, const WeightScope& decoder, const Sam2Config& c)
    : config_(c.hiera), patches_(vision / "backbone", c.hiera), neck_(vision, decoder, c) {
    int64_t layer = 0;
    for (int64_t stage = 0; stage < kStages; ++stage) {
        auto& blocks = stages_.emplace_back();
        for (int64_t i = 0; i < c.hiera.blocks[static_cast<std::size_t>(stage)]; ++i, ++layer) {
            blocks.emplace_back(vision / "backbone" / "blocks" / layer, c.hiera, stage, i == 0,
                                layer);
        }
    }
}

Features Hiera::operator()(const ModelInput& input, const Schedule& schedule,
                           const Tap* tap) const {
    const int64_t grid = config_.grid(0);
    at::Tensor tokens = fresh_tensor({grid * grid, config_.hidden});
    float* data = tokens.mutable_data_ptr<float>();
    parallel_for(grid, schedule, [&](int64_t y, Worker& worker) {
        patches_(y, input, data + y * grid * config_.hidden, worker.arena);
    });
    const auto tell = [&](const std::string& name, const at::Tensor& value) {
        if (tap != nullptr) (*tap)(name, value.clone());
    };
    tell("patch_embed", tokens);
    std::array<at::Tensor, kStages> laterals;
    TokenBuffers buffers;
    int64_t layer = 0;
    for (std::size_t stage = 0; stage < kStages; ++stage) {
        for (const Block& block : stages_[stage]) {
            tokens = block(tokens, buffers, schedule);
            tell("block_" + std::to_string(layer++), tokens);
        }
        laterals[stage] = neck_.lateral(stage, tokens, schedule);
    }
    Features features = neck_(laterals, schedule);
    for (std::size_t i = 0; i < features.size(); ++i)
        tell("features_" + std::to_string(i), features[i]);
    return features;
}

}  // namespace segrid::sam2
