#include "models/edgetam/perceiver_plain.h"

#include <ATen/ATen.h>

#include <cmath>

#include "models/sam2/memory_attention_plain.h"

namespace segrid::plain {
namespace {

constexpr float kEps = 1e-5F;  // torch's default

}  // namespace

PerceiverMlp::PerceiverMlp(const Weights& w, int64_t dim, int64_t hidden)
    : norm(w / "layer_norm", dim, kEps),
      in(w / "up_proj", dim, hidden, /*bias=*/false),
      out(w / "down_proj", hidden, dim, /*bias=*/false) {}

at::Tensor PerceiverMlp::operator()(const at::Tensor& x) const {
    return out(at::gelu(in(norm(x))));
}

PerceiverAttention::PerceiverAttention(const Weights& w, int64_t dim)
    : q_(w / "q_proj", dim, dim, /*bias=*/false),
      k_(w / "k_proj", dim, dim, /*bias=*/false),
      v_(w / "v_proj", dim, dim, /*bias=*/false),
      out_(w / "o_proj", dim, dim, /*bias=*/false) {}

at::Tensor PerceiverAttention::operator()(const at::Tensor& queries, const at::Tensor& inputs,
                                          const at::Tensor& positions) const {
    const auto placed = [&](const at::Tensor& x) {
        return split_heads(positions.defined() ? x + positions : x, 1);
    };
    const at::Tensor q = split_heads(q_(queries), 1);
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
    return out_(merge_heads(attend(q, placed(k_(inputs)), placed(v_(inputs)), scale)));
}

PerceiverLayer::PerceiverLayer(const Weights& w, const edgetam::MemoryConfig& c)
    : norm_latents(w / "layer_norm_latents", c.encoder.channels, kEps),
      norm_memory(w / "layer_norm_input", c.encoder.channels, kEps),
      norm_self(w / "layer_norm_self", c.encoder.channels, kEps),
      cross(w / "cross_attention", c.encoder.channels),
      self(w / "self_attention", c.encoder.channels),
      mlp(w / "mlp", c.encoder.channels, c.perceiver.hidden),
      self_mlp(w / "self_mlp", c.encoder.channels, c.perceiver.hidden) {}

at::Tensor PerceiverLayer::operator()(const at::Tensor& latents, const at::Tensor& memory,
                                      const at::Tensor& positions) const {
    at::Tensor x = latents + cross(norm_latents(latents), norm_memory(memory), positions);
    x = x + mlp(x);
    const at::Tensor own = norm_self(x);
    x = x + self(own, own, {});
    return x + self_mlp(x);
}

SpatialPerceiver::SpatialPerceiver(const Weights& w, const edgetam::MemoryConfig& c)
    : grid_(c.grid),
      square_(c.perceiver.square),
      positions_(w.place(sine_positions(c.grid, c.encoder.channels)).unsqueeze(0)),
      norm_(w / "layer_norm", c.encoder.channels, kEps) {
    const int64_t placed = square_ * square_, channels = c.encoder.channels;
    if (c.perceiver.global > 0)
        global_ = w.tensor("latents_1d", {c.perceiver.global, channels}).unsqueeze(0);
    placed_ = w.tensor("latents_2d", {placed, channels}).unsqueeze(1);
    for (int64_t i = 0; i < c.perceiver.layers; ++i) layers_.emplace_back(w / "layers" / i, c);
}

at::Tensor SpatialPerceiver::operator()(const at::Tensor& memory) const {
    const at::Tensor windows = to_windows(memory.view({1, grid_, grid_, -1}), grid_ / square_);
    at::Tensor placed = placed_, global = global_;
    for (const PerceiverLayer& layer : layers_) placed = layer(placed, windows, {});
    placed = norm_(placed).squeeze(1);
    if (!global.defined()) return placed;
    for (const PerceiverLayer& layer : layers_)
        global = layer(global, memory.unsqueeze(0), positions_);
    return at::cat({norm_(global).squeeze(0), placed});
}

}  // namespace segrid::plain
