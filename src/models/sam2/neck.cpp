#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "core/fresh_tensor.h"
#include "core/trace.h"
#include "models/sam2/hiera.h"

namespace segrid::sam2 {
namespace {

struct Convolution {  // 1 x 1
    at::Tensor weight, bias;
    Convolution(const WeightScope& s, int64_t in, int64_t out)
        : weight(s.tensor("weight", {out, in, 1, 1}).view({out, in})),
          bias(s.tensor("bias", {out})) {}
};

// Two convolutions, one after the other, as a single Linear.
Linear both(const Convolution& first, const Convolution& second, Precision precision) {
    return {at::matmul(second.weight, first.weight).contiguous(),
            (at::matmul(second.weight, first.bias) + second.bias).contiguous(), precision};
}

}  // namespace

Neck::Neck(const WeightScope& vision, const WeightScope& decoder, const ImageConfig& c)
    : fpn_(c.fpn), top_down_(c.top_down) {
    for (std::size_t stage = 0; stage < kStages; ++stage) {
        sides_[stage] = c.stages.sides[stage];
        const Convolution lateral(
            vision / "neck" / "convs" / static_cast<int64_t>(kStages - 1 - stage),
            c.stages.dims[stage], fpn_);
        if (stage == 0)
            lateral_[stage] =
                both(lateral, Convolution(decoder / "conv_s0", fpn_, fpn_ / 8), vision.precision());
        else if (stage == 1)
            lateral_[stage] =
                both(lateral, Convolution(decoder / "conv_s1", fpn_, fpn_ / 4), vision.precision());
        else lateral_[stage] = Linear(lateral.weight, lateral.bias, vision.precision());
    }
}

Features Neck::operator()(const std::array<at::Tensor, kStages>& stages,
                          const Schedule& schedule) const {
    std::array<at::Tensor, kStages> out;
    for (std::size_t stage = kStages; stage-- > 0;) {
        if (stage == kStages - 1 && !top_down_) continue;
        const Linear& lateral = lateral_[stage];
        const int64_t in = lateral.weight().k(), width = lateral.weight().n(), side = sides_[stage];
        out[stage] = fresh_tensor({side * side, width});
        const float* x = stages[stage].const_data_ptr<float>();
        float* to = out[stage].mutable_data_ptr<float>();
        const float* above = stage == 2 && top_down_ ? out[3].const_data_ptr<float>() : nullptr;
        parallel_for(side, schedule, [&](int64_t y, Worker&) {
            const Span span("neck", y);
            float* row = to + y * side * width;
            lateral(side, x + y * side * in, in, row, width);
            for (int64_t i = 0; above != nullptr && i < side; ++i)
                add(width, row + i * width, above + (y / 2 * (side / 2) + i / 2) * width,
                    row + i * width);
        });
    }
    return {out[2], out[1], out[0]};
}

}  // namespace segrid::sam2
