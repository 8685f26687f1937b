#include "models/sam2/memory_encoder.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "core/trace.h"

namespace segrid::sam2 {
namespace {

constexpr float kEps = 1e-6F;

// A 1x1 convolution is a Linear of each pixel.
Linear pointwise(const WeightScope& s, int64_t in, int64_t out) {
    return {s.tensor("weight", {out, in, 1, 1}).view({out, in}), s.tensor("bias", {out}),
            s.precision()};
}

ResidualMlp scaled_mlp(const WeightScope& s, const MemoryConfig& c) {
    const int64_t dim = c.dim, hidden = c.encoder.fuser_hidden;
    const at::Tensor scale = s.tensor("scale", {dim});
    const WeightScope out = s / "pointwise_conv2";
    return {LayerNorm(s / "layer_norm", dim, kEps), Linear(s / "pointwise_conv1", dim, hidden),
            Linear(out.tensor("weight", {dim, hidden}) * scale.unsqueeze(1),
                   out.tensor("bias", {dim}) * scale, s.precision())};
}

}  // namespace

MaskDownsampling::MaskDownsampling(const WeightScope& s, int64_t in, int64_t kernel)
    : convolution_((s / "conv").tensor("weight", {4 * in, in, kernel, kernel}),
                   (s / "conv").tensor("bias", {4 * in}), s.precision()),
      norm_(s / "layer_norm", 4 * in, kEps) {}

at::Tensor MaskDownsampling::operator()(const at::Tensor& input, int64_t side,
                                        const Schedule& schedule) const {
    const int64_t half = side / 2, width = convolution_.out(), in = input.size(1);
    at::Tensor output = fresh_tensor({half * half, width});
    const float* x = input.const_data_ptr<float>();
    float* out = output.mutable_data_ptr<float>();
    parallel_for(half, schedule, [&](int64_t y, Worker& worker) {
        const Span span("mask downsampling", y);
        float* row = out + y * half * width;
        convolution_(rows_around(x, side, side * in, 2 * y, convolution_.kernel()).data(), side,
                     row, worker.arena);
        norm_(half, row, row);
        gelu(half * width, row);
    });
    return output;
}

FuserBlock::FuserBlock(const WeightScope& s, const MemoryConfig& c)
    : dim_(c.dim),
      depthwise_((s / "depthwise_conv")
                     .tensor("weight", {dim_, 1, c.encoder.fuser_kernel, c.encoder.fuser_kernel}),
                 (s / "depthwise_conv").tensor("bias", {dim_})),
      mlp_(scaled_mlp(s, c)) {}

at::Tensor FuserBlock::operator()(const at::Tensor& input, int64_t side,
                                  const Schedule& schedule) const {
    at::Tensor output = at::empty_like(input);
    const float* x = input.const_data_ptr<float>();
    float* out = output.mutable_data_ptr<float>();
    parallel_for(side, schedule, [&](int64_t y, Worker& worker) {
        const Span span("memory fuser", y);
        const int64_t row = side * dim_;
        float* local = worker.arena.take<float>(row);
        depthwise_(rows_around(x, side, row, y, depthwise_.kernel()).data(), side, local);
        std::copy_n(x + y * row, row, out + y * row);
        mlp_(side, local, out + y * row, worker.arena);
    });
    return output;
}

MemoryEncoder::MemoryEncoder(const WeightScope& s, const MemoryConfig& c)
    : grid_(c.grid), dim_(c.dim) {
    const WeightScope sampler = s / "mask_downsampler";
    int64_t channels = 1, number = 0;
    for (int64_t stride = 2; stride <= c.encoder.total_stride; stride *= 2, ++number) {
        masks_.emplace_back(sampler / "layers" / number, channels, c.encoder.kernel);
        channels *= 4;
    }
    last_mask_ = pointwise(sampler / "final_conv", channels, dim_);
    image_ = pointwise(s / "feature_projection", dim_, dim_);
    for (int64_t i = 0; i < c.encoder.fuser_layers; ++i)
        fuser_.emplace_back(s / "memory_fuser" / "layers" / i, c);
    projection_ = pointwise(s / "projection", dim_, c.encoder.channels);
}

at::Tensor MemoryEncoder::operator()(const at::Tensor& image, const at::Tensor& mask,
                                     const Schedule& schedule) const {
    const int64_t tokens = grid_ * grid_, channels = projection_.weight().n();
    int64_t side = mask.size(0);
    at::Tensor m = mask.view({side * side, 1});
    for (const MaskDownsampling& step : masks_) {
        m = step(m, side, schedule);
        side /= 2;
    }
    at::Tensor x = fresh_tensor({tokens, dim_}), remembered = at::empty({tokens, channels});
    const float *of_image = image.const_data_ptr<float>(), *of_mask = m.const_data_ptr<float>();
    float* both = x.mutable_data_ptr<float>();
    over_rows(tokens, schedule, [&](int64_t first, int64_t rows, Arena&) {
        const Span span("mask and image");
        float* to = both + first * dim_;
        image_(rows, of_image + first * dim_, dim_, to, dim_);
        last_mask_.add_to(rows, of_mask + first * m.size(1), m.size(1), to, dim_);
    });
    for (const FuserBlock& block : fuser_) x = block(x, grid_, schedule);
    const float* from = x.const_data_ptr<float>();
    float* to = remembered.mutable_data_ptr<float>();
    over_rows(tokens, schedule, [&](int64_t first, int64_t rows, Arena&) {
        projection_(rows, from + first * dim_, dim_, to + first * channels, channels);
    });
    return remembered;
}

}  // namespace segrid::sam2
