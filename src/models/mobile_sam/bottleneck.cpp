#include <ATen/ATen.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "core/trace.h"
#include "models/mobile_sam/tiny_vit.h"
#include "nn/folded_convolution.h"

namespace segrid::mobile_sam {
namespace {

// Output rows per task of a bottleneck: few, so that its wide middle stays small.
constexpr int64_t kBand = 8;

}  // namespace

DepthwiseConvolution depthwise(const WeightScope& s, int64_t channels, int64_t stride) {
    const FoldedConvolution folded(s, 1, channels, 3);
    return {folded.weight, folded.bias, stride};
}

Bottleneck::Bottleneck(const WeightScope& s, const BottleneckShape& c)
    : shape_(c),
      first_(FoldedConvolution(s / "conv1", c.in, c.hidden, 1).pointwise(s.precision())),
      last_(FoldedConvolution(s / "conv3", c.hidden, c.out, 1).pointwise(s.precision())),
      middle_(depthwise(s / "conv2", c.hidden, c.stride)) {}

at::Tensor Bottleneck::operator()(const at::Tensor& input, const Schedule& schedule) const {
    const auto [side, in, hidden, width, stride, residual] = shape_;
    const int64_t to_side = side / stride;
    at::Tensor output = fresh_tensor({to_side * to_side, width});
    const float* x = input.const_data_ptr<float>();
    float* out = output.mutable_data_ptr<float>();
    parallel_for((to_side + kBand - 1) / kBand, schedule, [&](int64_t band, Worker& worker) {
        const Span span("bottleneck", band);
        const int64_t begin = band * kBand, end = std::min(to_side, begin + kBand);
        const int64_t low = std::max<int64_t>(0, begin * stride - 1),
                      high = std::min(side, (end - 1) * stride + 2);
        float* wide = worker.arena.take<float>((high - low) * side * hidden);
        float* middle = worker.arena.take<float>(to_side * hidden);
        first_((high - low) * side, x + low * side * in, in, wide, hidden, Activation::Gelu);
        for (int64_t y = begin; y < end; ++y) {
            const float* rows[3];
            for (int64_t k = 0; k < 3; ++k) {
                const int64_t row = y * stride - 1 + k;
                rows[k] = row >= 0 && row < side ? wide + (row - low) * side * hidden : nullptr;
            }
            middle_(rows, side, middle);
            gelu(to_side * hidden, middle);
            float* to = out + y * to_side * width;
            last_(to_side, middle, hidden, to, width);
            if (residual) {
                add(to_side * width, to, x + y * side * in, to);
                gelu(to_side * width, to);
            }
        }
    });
    return output;
}

}  // namespace segrid::mobile_sam
