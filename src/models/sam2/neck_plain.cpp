#include "models/sam2/neck_plain.h"

#include <ATen/ATen.h>

namespace segrid::plain {
namespace {

Linear one_by_one(const Weights& w, int64_t in, int64_t out) {
    return {w.tensor("weight", {out, in, 1, 1}).view({out, in}), w.tensor("bias", {out})};
}

}  // namespace

Neck::Neck(const Weights& vision, const Weights& decoder, const sam2::ImageConfig& c)
    : top_down_(c.top_down) {
    for (std::size_t stage = 0; stage < sam2::kStages; ++stage) {
        lateral_[stage] = one_by_one(
            vision / "neck" / "convs" / (sam2::kStages - 1 - static_cast<int64_t>(stage)),
            c.stages.dims[stage], c.fpn);
    }
    quarter_ = one_by_one(decoder / "conv_s0", c.fpn, c.fpn / 8);
    half_ = one_by_one(decoder / "conv_s1", c.fpn, c.fpn / 4);
}

Features Neck::operator()(const std::array<at::Tensor, sam2::kStages>& stages,
                          const Tap* tap) const {
    at::Tensor tokens = lateral_[2](stages[2]);
    if (top_down_)
        tokens = tokens + lateral_[3](stages[3]).repeat_interleave(2, 1).repeat_interleave(2, 2);
    Features features{tokens, half_(lateral_[1](stages[1])), quarter_(lateral_[0](stages[0]))};
    for (std::size_t i = 0; i < features.size(); ++i) {
        features[i] = features[i].flatten(1, 2);
        tell(tap, "features_" + std::to_string(i), features[i]);
    }
    return features;
}

}  // namespace segrid::plain
