#include "models/edgetam/repvit.h"

#include <ATen/Functions.h>

#include <string>

#include "models/sam2/sam2.h"

namespace segrid::edgetam {

RepVit::RepVit(const WeightScope& vision, const WeightScope& decoder, const EdgeTamConfig& c)
    : preprocess_(sam2::preprocess(c)),
      stem_(vision / "backbone" / "timm_model" / "stem" / "conv1",
            vision / "backbone" / "timm_model" / "stem" / "conv2", c.repvit.image,
            c.repvit.dims[0]),
      neck_(vision, decoder, c) {
    const WeightScope model = vision / "backbone" / "timm_model";
    for (std::size_t stage = 0; stage < kStages; ++stage) {
        const WeightScope s = model / ("stages_" + std::to_string(stage));
        if (stage > 0) downsamplings_.emplace_back(s / "downsample", c.repvit, stage);
        auto& blocks = stages_.emplace_back();
        for (int64_t i = 0; i < c.repvit.depths[stage]; ++i)
            blocks.emplace_back(s / "blocks" / i, c.repvit, stage, /*gated=*/i % 2 == 0);
    }
}

Features RepVit::operator()(const ModelInput& input, const Schedule& schedule,
                            const Tap* tap) const {
    const auto tell = [&](const std::string& name, const at::Tensor& value) {
        if (tap != nullptr) (*tap)(name, value.clone());
    };
    at::Tensor x = stem_(input, preprocess_, schedule);
    tell("stem", x);
    std::array<at::Tensor, kStages> laterals;
    for (std::size_t stage = 0; stage < kStages; ++stage) {
        if (stage > 0) x = downsamplings_[stage - 1](x, schedule);
        for (const Block& block : stages_[stage]) x = block(x, schedule);
        tell("stage_" + std::to_string(stage), x);
        laterals[stage] = neck_.lateral(stage, x, schedule);
    }
    Features features = neck_(laterals, schedule);
    for (std::size_t i = 0; i < features.size(); ++i)
        tell("features_" + std::to_string(i), features[i]);
    return features;
}

}  // namespace segrid::edgetam
