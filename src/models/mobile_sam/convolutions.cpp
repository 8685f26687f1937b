#include <ATen/ATen.h>

#include <algorithm>

#include "core/trace.h"
#include "models/mobile_sam/tiny_vit.h"

namespace segrid::mobile_sam {
namespace {

// A convolution ("c", without bias) with the BatchNorm ("bn") that follows it folded in.
struct Folded {
    at::Tensor weight, bias;
    Folded(const WeightScope& s, int64_t out, int64_t in, int64_t kernel) {
        const WeightScope bn = s / "bn";
        const at::Tensor scale = bn.tensor("weight", {out}) /
                                 (bn.tensor("running_var", {out}).clamp_min(0) + 1e-5).sqrt();
        weight = (s / "c").tensor("weight", {out, in, kernel, kernel}) * scale.view({out, 1, 1, 1});
        bias = (bn.tensor("bias", {out}) - bn.tensor("running_mean", {out}) * scale).contiguous();
    }
    Linear product(Precision precision) const {
        return {weight.permute({0, 2, 3, 1}).reshape({weight.size(0), -1}).contiguous(), bias,
                precision};
    }
};

// Output rows per task of a bottleneck: few, so that its wide middle stays small.
constexpr int64_t kBand = 8;

}  // namespace

StridedConvolution strided_convolution(const WeightScope& s, int64_t in, int64_t out) {
    const Folded folded(s, out, in, 3);
    return {folded.weight, folded.bias, s.precision()};
}

DepthwiseConvolution depthwise_convolution(const WeightScope& s, int64_t channels, int64_t stride) {
    const Folded folded(s, channels, 1, 3);
    return {folded.weight, folded.bias, stride};
}

Bottleneck::Bottleneck(const WeightScope& s, const BottleneckShape& c)
    : shape_(c),
      first_(Folded(s / "conv1", c.hidden, c.in, 1).product(s.precision())),
      last_(Folded(s / "conv3", c.out, c.hidden, 1).product(s.precision())),
      middle_(depthwise_convolution(s / "conv2", c.hidden, c.stride)) {}

at::Tensor Bottleneck::operator()(const at::Tensor& input, const Schedule& schedule) const {
    const auto [side, in, hidden, width, stride, residual] = shape_;
    const int64_t to_side = side / stride;
    at::Tensor output = at::empty({to_side * to_side, width});
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

at::Tensor TinyVit::patches(const ModelInput& input, const Schedule& schedule) const {
    const PreprocessSpec spec;
    const int64_t side = config_.image, half = side / 2, narrow = config_.dims[0] / 2;
    at::Tensor inner = at::empty({half * half, narrow}),
               out = at::empty({half * half / 4, config_.dims[0]});
    float* inner_data = inner.mutable_data_ptr<float>();
    float* out_data = out.mutable_data_ptr<float>();
    parallel_for(half, schedule, [&](int64_t y, Worker& worker) {
        float* rows = worker.arena.take<float>(3 * side * 3);  // normalised, zero beyond the image
        std::fill_n(rows, 3 * side * 3, 0.0F);
        for (int64_t k = 0; k < 3; ++k) {
            const int64_t row = 2 * y - 1 + k;
            if (row < 0 || row >= input.size.height) continue;
            const int64_t count = input.size.width * 3;
            float* to = rows + k * side * 3;
            for (int64_t i = 0; i < count; ++i) to[i] = input.normalised(spec, row * count + i);
        }
        const float* around[3];
        for (int64_t k = 0; k < 3; ++k) {
            const int64_t row = 2 * y - 1 + k;
            around[k] = row < 0 || row >= side ? nullptr : rows + k * side * 3;
        }
        float* to = inner_data + y * half * narrow;
        first_(around, side, to, worker.arena);
        gelu(half * narrow, to);
    });
    parallel_for(half / 2, schedule, [&](int64_t y, Worker& worker) {
        second_(rows_around(inner_data, half, half * narrow, 2 * y, 3).data(), half,
                out_data + y * half / 2 * config_.dims[0], worker.arena);
    });
    return out;
}

}  // namespace segrid::mobile_sam
