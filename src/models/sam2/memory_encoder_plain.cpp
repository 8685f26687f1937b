#include "models/sam2/memory_encoder_plain.h"

#include <ATen/ATen.h>

namespace segrid::plain {
namespace {

constexpr float kEps = 1e-6F;

// The norm of each pixel's channels. x: [1, channels, h, w]
at::Tensor over_channels(const LayerNorm& norm, const at::Tensor& x) {
    return norm(x.permute({0, 2, 3, 1})).permute({0, 3, 1, 2});
}

}  // namespace

Convolution::Convolution(const Weights& w, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                         int64_t groups)
    : weight_(w.tensor("weight", {out, in / groups, kernel, kernel})),
      bias_(w.tensor("bias", {out})),
      stride_(stride),
      padding_(kernel / 2),
      groups_(groups) {}

at::Tensor Convolution::operator()(const at::Tensor& x) const {
    return convolution(x, weight_, bias_, stride_, padding_, groups_);
}

at::Tensor MaskDownsampling::operator()(const at::Tensor& x) const {
    return at::gelu(over_channels(norm, convolution(x)));
}

FuserBlock::FuserBlock(const Weights& w, const sam2::MemoryConfig& c)
    : depthwise(w / "depthwise_conv", c.dim, c.dim, c.encoder.fuser_kernel, 1, c.dim),
      norm(w / "layer_norm", c.dim, kEps),
      in(w / "pointwise_conv1", c.dim, c.encoder.fuser_hidden),
      out(w / "pointwise_conv2", c.encoder.fuser_hidden, c.dim),
      scale(w.tensor("scale", {c.dim})) {}

at::Tensor FuserBlock::operator()(const at::Tensor& x) const {
    const at::Tensor rows = norm(depthwise(x).permute({0, 2, 3, 1}));
    return x + (scale * out(at::gelu(in(rows)))).permute({0, 3, 1, 2});
}

MemoryEncoder::MemoryEncoder(const Weights& w, const sam2::MemoryConfig& c) : grid_(c.grid) {
    const Weights sampler = w / "mask_downsampler";
    int64_t channels = 1, number = 0;
    for (int64_t stride = 2; stride <= c.encoder.total_stride; stride *= 2, ++number) {
        const Weights layer = sampler / "layers" / number;
        masks_.push_back({Convolution(layer / "conv", channels, 4 * channels, c.encoder.kernel, 2),
                          LayerNorm(layer / "layer_norm", 4 * channels, kEps)});
        channels *= 4;
    }
    last_mask_ = Convolution(sampler / "final_conv", channels, c.dim, 1, 1);
    image_ = Convolution(w / "feature_projection", c.dim, c.dim, 1, 1);
    for (int64_t i = 0; i < c.encoder.fuser_layers; ++i)
        fuser_.emplace_back(w / "memory_fuser" / "layers" / i, c);
    projection_ = Convolution(w / "projection", c.dim, c.encoder.channels, 1, 1);
}

at::Tensor MemoryEncoder::operator()(const at::Tensor& image, const at::Tensor& mask) const {
    at::Tensor m = mask.unsqueeze(0).unsqueeze(0);
    for (const MaskDownsampling& step : masks_) m = step(m);
    const at::Tensor pixels = image.view({grid_, grid_, -1}).permute({2, 0, 1}).unsqueeze(0);
    at::Tensor x = image_(pixels) + last_mask_(m);
    for (const FuserBlock& block : fuser_) x = block(x);
    return projection_(x).flatten(2).squeeze(0).t().contiguous();
}

}  // namespace segrid::plain
