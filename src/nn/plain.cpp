#include "nn/plain.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace segrid::plain {

at::Tensor Weights::place(const at::Tensor& value) const {
    return value.to(placement_.device, placement_.type).contiguous();
}

Linear::Linear(const Weights& w, int64_t in, int64_t out, bool bias)
    : weight_(w.tensor("weight", {out, in})),
      bias_(bias ? w.tensor("bias", {out}) : at::Tensor()) {}

// ATen adds the bias inside the product only up to three dimensions.
at::Tensor Linear::operator()(const at::Tensor& x) const {
    if (x.dim() < 4) return at::linear(x, weight_, bias_);
    return at::linear(x.flatten(0, 1), weight_, bias_).unflatten(0, {x.size(0), x.size(1)});
}

LayerNorm::LayerNorm(const Weights& w, int64_t dim, float eps)
    : gamma_(w.tensor("weight", {dim})), beta_(w.tensor("bias", {dim})), eps_(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
    return at::layer_norm(x, {x.size(-1)}, gamma_, beta_, eps_);
}

NormedMlp::NormedMlp(const Weights& norm, const Weights& in, const Weights& out, int64_t dim,
                     int64_t hidden, float eps, Activation activation)
    : norm_(norm, dim, eps),
      in_(in, dim, hidden),
      out_(out, hidden, dim),
      activation_(activation) {}

at::Tensor NormedMlp::operator()(const at::Tensor& x) const {
    return out_(activate(activation_, in_(norm_(x))));
}

FeedForward::FeedForward(const Weights& w, int64_t in, int64_t hidden, int64_t out, int64_t depth) {
    layers_.emplace_back(w / "proj_in", in, hidden);
    for (int64_t i = 0; i + 2 < depth; ++i) layers_.emplace_back(w / "layers" / i, hidden, hidden);
    layers_.emplace_back(w / "proj_out", hidden, out);
}

at::Tensor FeedForward::operator()(at::Tensor x) const {
    for (std::size_t i = 0; i < layers_.size(); ++i)
        x = i + 1 < layers_.size() ? at::relu(layers_[i](x)) : layers_[i](x);
    return x;
}

at::Tensor activate(Activation activation, const at::Tensor& x) {
    switch (activation) {
        case Activation::Gelu: return at::gelu(x);
        case Activation::QuickGelu: return x * at::sigmoid(x * 1.702);
        case Activation::Relu: return at::relu(x);
        case Activation::None: break;
    }
    return x;
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       int64_t stride, int64_t padding, int64_t groups) {
    return at::_convolution(
        x, weight, bias, at::IntArrayRef{stride, stride}, at::IntArrayRef{padding, padding},
        at::IntArrayRef{1, 1}, /*transposed=*/false, at::IntArrayRef{0, 0}, groups,
        /*benchmark=*/false, /*deterministic=*/true, /*cudnn_enabled=*/true, /*allow_tf32=*/false);
}

NormedConvolution::NormedConvolution(const Weights& w, int64_t in, int64_t out, int64_t kernel,
                                     int64_t stride, int64_t groups)
    : NormedConvolution(w, FoldedConvolution(w.scope(), in / groups, out, kernel), stride, groups) {
}

NormedConvolution::NormedConvolution(const Weights& w, const FoldedConvolution& folded,
                                     int64_t stride, int64_t groups)
    : weight_(w.place(folded.weight)),
      bias_(w.place(folded.bias)),
      stride_(stride),
      groups_(groups) {}

at::Tensor NormedConvolution::operator()(const at::Tensor& x) const {
    return convolution(x, weight_, bias_, stride_, weight_.size(2) / 2, groups_);
}

at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
    return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

at::Tensor merge_heads(const at::Tensor& x) {
    return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)});
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                  const at::Tensor& bias) {
    return at::scaled_dot_product_attention(
        q, k, v, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, 0.0, false,
        scale);
}

at::Tensor to_windows(const at::Tensor& x, int64_t window) {
    const int64_t images = x.size(0), side = x.size(1), across = (side + window - 1) / window,
                  more = across * window - side, channels = x.size(3);
    return at::constant_pad_nd(x, {0, 0, 0, more, 0, more}, 0)
        .view({images, across, window, across, window, channels})
        .transpose(2, 3)
        .reshape({images * across * across, window * window, channels});
}

at::Tensor from_windows(const at::Tensor& x, int64_t window, int64_t side) {
    const int64_t across = (side + window - 1) / window, channels = x.size(2);
    return x.view({-1, across, across, window, window, channels})
        .transpose(2, 3)
        .reshape({-1, across * window, across * window, channels})
        .narrow(1, 0, side)
        .narrow(2, 0, side);
}

at::Tensor channels_first(const at::Tensor& x) { return x.permute({0, 3, 1, 2}).contiguous(); }
at::Tensor channels_last(const at::Tensor& x) { return x.permute({0, 2, 3, 1}).contiguous(); }

at::Tensor pool_by_two(const at::Tensor& x) {
    return x.reshape({x.size(0), x.size(1) / 2, 2, x.size(2) / 2, 2, x.size(3)}).amax({2, 4});
}

void not_finite(const std::string& what, at::ScalarType type) {
    fail(ErrorKind::Unsupported, what + ": NaN or Inf in " +
                                     (type == at::kHalf       ? "fp16"
                                      : type == at::kBFloat16 ? "bf16"
                                                              : "fp32") +
                                     "; this model needs another precision ('bf16' or 'fp32')");
}

void check_finite(const at::Tensor& x, const std::string& what) {
    if (!at::isfinite(x).all().item<bool>()) not_finite(what, x.scalar_type());
}

at::Tensor on_host(const at::Tensor& x) { return x.to(at::kCPU, at::kFloat).contiguous(); }

}  // namespace segrid::plain
