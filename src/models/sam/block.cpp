#include "core/trace.h"
#include "models/sam/vision_encoder.h"

namespace segrid::sam {
namespace {

RelativePositions positions(const WeightScope& scope, const VisionConfig& c, int64_t extent) {
    if (!c.relative_positions) return {};
    const std::vector<int64_t> shape{2 * extent - 1, c.hidden / c.heads};
    return {scope.tensor("rel_pos_h", shape), scope.tensor("rel_pos_w", shape)};
}

}  // namespace

Block::Block(const WeightScope& scope, const VisionConfig& c, int64_t layer)
    : hidden_(c.hidden),
      norm_(scope / "layer_norm1", c.hidden, c.eps),
      qkv_(scope.encoder_linears() / "attn" / "qkv", c.hidden, 3 * c.hidden, c.qkv_bias),
      projection_(scope.encoder_linears() / "attn" / "proj", c.hidden, c.hidden),
      mlp_(scope / "layer_norm2", scope.encoder_linears() / "mlp" / "lin1",
           scope.encoder_linears() / "mlp" / "lin2", c.hidden, c.mlp, c.eps) {
    const int64_t window = c.is_global(layer) ? 0 : c.window;
    attention_ = GridSelfAttention(
        {.side = c.grid(), .hidden = c.hidden, .heads = c.heads, .window = window},
        scope.precision(), qkv_.of_zeros(),
        positions(scope / "attn", c, window > 0 ? window : c.grid()));
}

void Block::operator()(at::Tensor& tokens, TokenBuffers& buffers, const Schedule& schedule) const {
    const int64_t count = tokens.size(0);
    float* x = tokens.mutable_data_ptr<float>();
    float* qkv = buffers.qkv(count * 3 * hidden_);
    float* attended = buffers.attended(count * hidden_);
    linear_of_norm(norm_, qkv_, count, x, qkv, schedule);
    attention_(qkv, attended, schedule);
    over_rows(
        count, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("mlp");
            projection_.add_to(rows, attended + first * hidden_, hidden_, x + first * hidden_,
                               hidden_);
            mlp_(rows, x + first * hidden_, arena);
        },
        row_tile(mlp_.precision(), count));
}

}  // namespace segrid::sam
