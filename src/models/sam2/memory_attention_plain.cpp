#include "models/sam2/memory_attention_plain.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace segrid::plain {
namespace {

constexpr float kEps = 1e-5F;  // torch's default

}  // namespace

at::Tensor wave_periods(int64_t count) {
    const at::Tensor pair = at::arange(count, at::kLong).div(2, "floor").to(at::kFloat);
    return at::pow(10000.0, 2 * pair / count);
}

at::Tensor sine_positions(int64_t grid, int64_t channels) {
    const int64_t half = channels / 2;
    const at::Tensor place = at::arange(1, grid + 1, at::kFloat) /
                             (static_cast<double>(grid) + 1e-6) * 2 * std::numbers::pi;
    const at::Tensor angle = place.unsqueeze(1) / wave_periods(half);  // [grid, half]
    const at::Tensor waves =
        at::stack({angle.slice(1, 0, half, 2).sin(), angle.slice(1, 1, half, 2).cos()}, 2)
            .flatten(1);
    const at::Tensor rows = waves.unsqueeze(1).expand({grid, grid, half}),
                     columns = waves.unsqueeze(0).expand({grid, grid, half});
    return at::cat({rows, columns}, 2).view({grid * grid, channels});
}

at::Tensor rotary_angles(int64_t grid, int64_t head_dim, double theta, int64_t pooling) {
    const at::Tensor exponent =
        at::arange(0, head_dim / 2, 2, at::kFloat) / static_cast<double>(head_dim / 2);
    const at::Tensor frequency = 1 / at::pow(theta, exponent);  // [head_dim / 4]
    const at::Tensor token = at::arange(grid * grid, at::kLong);
    const auto place = [&](const at::Tensor& index) {
        return index.to(at::kFloat) * pooling + 0.5 * static_cast<double>(pooling - 1);
    };
    const at::Tensor column = place(token.remainder(grid)), row = place(token.div(grid, "floor"));
    return at::cat({column.unsqueeze(1) * frequency, row.unsqueeze(1) * frequency}, 1);
}

RotaryPositions::RotaryPositions(int64_t grid, int64_t head_dim, double theta,
                                 const Placement& placement, int64_t unplaced, int64_t pooling)
    : unplaced_(unplaced) {
    const at::Tensor angles = rotary_angles(grid, head_dim, theta, pooling).repeat_interleave(2, 1);
    cos_ = angles.cos().to(placement.device);
    sin_ = angles.sin().to(placement.device);
}

at::Tensor RotaryPositions::operator()(const at::Tensor& x, int64_t last) const {
    const int64_t tokens = x.size(2) - last, area = cos_.size(0);
    if (tokens == 0) return x;
    const at::Tensor frames = x.narrow(2, 0, tokens).unflatten(2, {-1, unplaced_ + area});
    const at::Tensor pairs = frames.narrow(3, unplaced_, area).to(at::kFloat);
    const at::Tensor split = pairs.unflatten(-1, {-1, 2});
    const at::Tensor turned =
        at::stack({-split.select(-1, 1), split.select(-1, 0)}, -1).flatten(-2);
    const at::Tensor grids = (pairs * cos_ + turned * sin_).to(x.scalar_type());
    const at::Tensor result = at::cat({frames.narrow(3, 0, unplaced_), grids}, 3).flatten(2, 3);
    return last == 0 ? result : at::cat({result, x.narrow(2, tokens, last)}, 2);
}

MemoryRotary::MemoryRotary(const sam2::MemoryConfig& c, const Placement& placement)
    : image(c.grid, c.head_dim(), c.attention.theta, placement),
      memory(c.memory_grid, c.head_dim(), c.attention.theta, placement, c.unplaced, c.pooling) {}

MemoryAttentionLayer::Projections::Projections(const Weights& w, int64_t dim, int64_t inner,
                                               int64_t memory)
    : q(w / "q_proj", dim, inner),
      k(w / "k_proj", memory, inner),
      v(w / "v_proj", memory, inner),
      out(w / "o_proj", inner, dim) {}

MemoryAttentionLayer::MemoryAttentionLayer(const Weights& w, const sam2::MemoryConfig& c)
    : heads_(c.attention.heads),
      norm1_(w / "layer_norm1", c.dim, kEps),
      norm2_(w / "layer_norm2", c.dim, kEps),
      mlp_(w / "layer_norm3", w / c.attention.mlp_in, w / c.attention.mlp_out, c.dim,
           c.attention.mlp, kEps, Activation::Relu) {
    const int64_t inner = c.dim / c.attention.downsample;
    scale_ = 1 / std::sqrt(static_cast<double>(c.head_dim()));
    self_ = Projections(w / "self_attn", c.dim, inner, c.dim);
    memory_ = Projections(w / "cross_attn_image", c.dim, inner, c.encoder.channels);
}

at::Tensor MemoryAttentionLayer::attention(const Projections& p, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& values,
                                           const at::Tensor& bias) const {
    return p.out(merge_heads(attend(q, k, split_heads(p.v(values), heads_), scale_, bias)));
}

at::Tensor MemoryAttentionLayer::look(const at::Tensor& x, const MemoryRotary& rotary) const {
    const at::Tensor own = norm1_(x);
    return x + attention(self_, rotary.image(split_heads(self_.q(own), heads_)),
                         rotary.image(split_heads(self_.k(own), heads_)), own);
}

at::Tensor MemoryAttentionLayer::remember(at::Tensor x, const at::Tensor& keys,
                                          const at::Tensor& values, int64_t pointers,
                                          const MemoryRotary& rotary,
                                          const at::Tensor& bias) const {
    x = x + attention(memory_, rotary.image(split_heads(memory_.q(norm2_(x)), heads_)),
                      rotary.memory(split_heads(memory_.k(keys), heads_), pointers), values, bias);
    return x + mlp_(x);
}

MemoryAttention::MemoryAttention(const Weights& w, const sam2::MemoryConfig& c)
    : pointer_bias_(c.pointer_bias()),
      image_positions_(w.place(0.1 * sine_positions(c.grid, c.dim))),
      rotary_(c, w.placement()),
      norm_(w / "layer_norm", c.dim, kEps) {
    for (int64_t i = 0; i < c.attention.layers; ++i) layers_.emplace_back(w / "layers" / i, c);
}

at::Tensor MemoryAttention::look(const at::Tensor& image) const {
    return layers_.front().look((image + image_positions_).unsqueeze(0), rotary_);
}

at::Tensor MemoryAttention::operator()(const at::Tensor& looked, const at::Tensor& memory,
                                       const at::Tensor& positions, int64_t pointers) const {
    const at::Tensor keys = (memory + positions).unsqueeze(0), values = memory.unsqueeze(0);
    at::Tensor bias;
    if (pointer_bias_ != 0 && pointers > 0) {
        bias = at::zeros({1, 1, 1, keys.size(1)}, keys.options());
        bias.narrow(3, keys.size(1) - pointers, pointers).fill_(pointer_bias_);
    }
    at::Tensor x = looked;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        if (i > 0) x = layers_[i].look(x, rotary_);
        x = layers_[i].remember(x, keys, values, pointers, rotary_, bias);
    }
    return norm_(x).squeeze(0);
}

}  // namespace segrid::plain
