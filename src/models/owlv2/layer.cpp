#include "models/owlv2/layer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/trace.h"

namespace segrid::owlv2 {

EncoderLayer::EncoderLayer(const WeightScope& scope, const TowerConfig& c)
    : config_(c),
      precision_(scope.precision()),
      norm_(scope / "layer_norm1", c.hidden, c.eps),
      qkv_(Linear::stacked(scope.encoder_linears() / "self_attn", {"q_proj", "k_proj", "v_proj"},
                           c.hidden, c.hidden)),
      projection_(scope.encoder_linears() / "self_attn" / "out_proj", c.hidden, c.hidden),
      mlp_(scope / "layer_norm2", scope.encoder_linears() / "mlp" / "fc1",
           scope.encoder_linears() / "mlp" / "fc2", c.hidden, c.mlp, c.eps, c.activation) {}

void EncoderLayer::finish(int64_t rows, const float* attended, float* x, Arena& arena) const {
    projection_.add_to(rows, attended, config_.hidden, x, config_.hidden);
    mlp_(rows, x, arena);
}

void EncoderLayer::operator()(at::Tensor& tokens, TokenBuffers& buffers,
                              const Schedule& schedule) const {
    const int64_t count = tokens.size(0), hidden = config_.hidden;
    float* x = tokens.mutable_data_ptr<float>();
    float* qkv = buffers.qkv(count * 3 * hidden);
    float* attended = buffers.attended(count * hidden);
    linear_of_norm(norm_, qkv_, count, x, qkv, schedule);
    self_attention(precision_, count, hidden, config_.heads, qkv, attended, schedule);
    over_rows(
        count, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("mlp");
            finish(rows, attended + first * hidden, x + first * hidden, arena);
        },
        row_tile(mlp_.precision(), count));
}

void EncoderLayer::causal(const std::vector<int64_t>& lengths, float* x, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t hidden = config_.hidden, dim = hidden / config_.heads;
    const int64_t rows = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
    float* normed = arena.take<float>(rows * hidden);
    float* qkv = arena.take<float>(rows * 3 * hidden);
    float* attended = arena.take<float>(rows * hidden);
    float* weights = arena.take<float>(rows);
    norm_(rows, x, normed);
    qkv_(rows, normed, hidden, qkv, 3 * hidden);
    int64_t begin = 0;
    for (const int64_t length : lengths) {
        for (int64_t row = 0; row < length * config_.heads; ++row) {
            const int64_t t = row / config_.heads, h = row % config_.heads;
            const float* own = qkv + begin * 3 * hidden + h * dim;
            const float* q = own + t * 3 * hidden;
            for (int64_t s = 0; s <= t; ++s) {
                const float* k = own + s * 3 * hidden + hidden;
                weights[s] = scale * std::inner_product(q, q + dim, k, 0.0F);
            }
            softmax_groups(t + 1, t + 1, nullptr, weights);
            float* out = attended + (begin + t) * hidden + h * dim;
            std::fill_n(out, dim, 0.0F);
            for (int64_t s = 0; s <= t; ++s) {
                const float* v = own + s * 3 * hidden + 2 * hidden;
                for (int64_t d = 0; d < dim; ++d) out[d] += weights[s] * v[d];
            }
        }
        begin += length;
    }
    finish(rows, attended, x, arena);
}

}  // namespace segrid::owlv2
