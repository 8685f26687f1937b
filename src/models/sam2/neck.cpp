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

at::Tensor Neck::lateral(std::size_t stage, const at::Tensor& tokens,
                         const Schedule& schedule) const {
    if (stage == kStages - 1 && !top_down_) return {};
    const Linear& linear = lateral_[stage];
    const int64_t in = linear.weight().k(), width = linear.weight().n(), side = sides_[stage];
    at::Tensor out = fresh_tensor({side * side, width});
    const float* x = tokens.const_data_ptr<float>();
    float* to = out.mutable_data_ptr<float>();
    parallel_for(side, schedule, [&](int64_t y, Worker&) {
        const Span span("neck", y);
        linear(side, x + y * side * in, in, to + y * side * width, width);
    });
    return out;
}

Features Neck::operator()(std::array<at::Tensor, kStages> laterals,
                          const Schedule& schedule) const {
    if (top_down_) {
        const int64_t side = sides_[2], half = side / 2;
        const float* above = laterals[3].const_data_ptr<float>();
        float* tokens = laterals[2].mutable_data_ptr<float>();
        parallel_for(side, schedule, [&](int64_t y, Worker&) {
            const Span span("neck", y);
            for (int64_t x = 0; x < side; ++x) {
                float* token = tokens + (y * side + x) * fpn_;
                add(fpn_, token, above + (y / 2 * half + x / 2) * fpn_, token);
            }
        });
    }
    return {laterals[2], laterals[1], laterals[0]};
}

}  // namespace segrid::sam2
