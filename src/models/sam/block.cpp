#include <ATen/Functions.h>

#include <cstring>

#include "core/trace.h"

#include "models/sam/vision_encoder.h"

namespace segrid::sam {
namespace {

// q, k and v of a padded token of a window: the bias alone.
at::Tensor padding(const Linear& qkv) {
    at::Tensor row = at::zeros({qkv.weight().n()});
    if (qkv.bias() != nullptr) std::memcpy(row.mutable_data_ptr<float>(), qkv.bias(), row.nbytes());
    return row;
}

RelativePositions positions(const Scope& scope, const VisionConfig& c, int64_t extent) {
    if (!c.relative_positions) return {};
    const std::vector<int64_t> shape{2 * extent - 1, c.hidden / c.heads};
    return {scope.tensor("rel_pos_h", shape), scope.tensor("rel_pos_w", shape)};
}

}  // namespace

Block::Block(const Scope& scope, const VisionConfig& c, int64_t layer)
    : hidden_(c.hidden), norm_(scope / "layer_norm1", c.hidden, c.eps), qkv_(scope / "attn" / "qkv", c.hidden, 3 * c.hidden, c.qkv_bias),
      projection_(scope / "attn" / "proj", c.hidden, c.hidden),
      mlp_(scope / "layer_norm2", scope / "mlp" / "lin1", scope / "mlp" / "lin2", c.hidden, c.mlp, c.eps) {
    const int64_t window = c.is_global(layer) ? 0 : c.window;
    attention_ = GridSelfAttention({.side = c.grid(), .hidden = c.hidden, .heads = c.heads, .window = window}, scope.precision(), padding(qkv_),
                                   positions(scope / "attn", c, window > 0 ? window : c.grid()));
}

void Block::operator()(at::Tensor& tokens, const Schedule& schedule) const {
    const int64_t count = tokens.size(0);
    float* x = tokens.mutable_data_ptr<float>();
    at::Tensor qkv = at::empty({count, 3 * hidden_}), attended = at::empty({count, hidden_});
    float* qkv_data = qkv.mutable_data_ptr<float>();
    float* attended_data = attended.mutable_data_ptr<float>();
    over_rows(count, schedule, [&](int64_t first, int64_t rows, Arena& arena) {
        const Span span("qkv");
        float* normed = arena.take<float>(rows * hidden_);
        norm_(rows, x + first * hidden_, normed);
        qkv_(rows, normed, hidden_, qkv_data + first * 3 * hidden_, 3 * hidden_);
    });
    attention_(qkv_data, attended_data, schedule);
    over_rows(count, schedule, [&](int64_t first, int64_t rows, Arena& arena) {
        const Span span("mlp");
        projection_.add_to(rows, attended_data + first * hidden_, hidden_, x + first * hidden_, hidden_);
        mlp_(rows, x + first * hidden_, arena);
    });
}

}  // namespace segrid::sam
