#include <ATen/ATen.h>

#include <cstdlib>

#include "core/fresh_tensor.h"
#include "core/trace.h"
#include "models/mobile_sam/tiny_vit.h"

namespace segrid::mobile_sam {
namespace {

// The file's rows of qkv are ordered by head, [q | k | v] for each. Returns all q, all k, all v.
at::Tensor by_kind(const at::Tensor& rows, int64_t heads) {
    const int64_t dim = rows.size(0) / 3;
    return rows.view({heads, 3, dim / heads, -1})
        .transpose(0, 1)
        .reshape({3 * dim, -1})
        .contiguous();
}

Linear read_qkv(const WeightScope& s, int64_t dim, int64_t heads) {
    LinearWeight weight(s, dim, 3 * dim);
    weight.values = by_kind(weight.values, heads);
    if (weight.scales.defined()) weight.scales = by_kind(weight.scales, heads).view({3 * dim});
    return {weight, by_kind(s.tensor("bias", {3 * dim}), heads).view({3 * dim}), s};
}

// A bias per head for every pair of places in a window. The table has one value per distance (|dy|,
// |dx|).
at::Tensor pair_biases(const WeightScope& s, int64_t heads, int64_t window) {
    const at::Tensor table = s.tensor("attention_biases", {heads, window * window});
    const at::Tensor at_y = at::arange(window * window, at::kLong).div(window, "floor"),
                     at_x = at::arange(window * window, at::kLong).remainder(window);
    const at::Tensor index =
        (at_y.unsqueeze(1) - at_y).abs() * window + (at_x.unsqueeze(1) - at_x).abs();
    return table.index_select(1, index.flatten()).contiguous();
}

}  // namespace

Block::Block(const WeightScope& s, const TinyVitConfig& c, std::size_t stage)
    : side_(c.grid(stage)),
      dim_(c.dims[stage]),
      norm_(s / "attn" / "norm", dim_, 1e-5F),
      qkv_(read_qkv(s.encoder_linears() / "attn" / "qkv", dim_, c.heads[stage])),
      projection_(s.encoder_linears() / "attn" / "proj", dim_, dim_),
      local_(depthwise(s / "local_conv", dim_, 1)),
      mlp_(s / "mlp" / "norm", s.encoder_linears() / "mlp" / "fc1",
           s.encoder_linears() / "mlp" / "fc2", dim_,
           static_cast<int64_t>(static_cast<double>(dim_) * c.mlp_ratio), 1e-5F) {
    // Windows are padded with zeros before the norm, which turns these into its beta.
    at::Tensor padding = at::empty({3 * dim_});
    qkv_(1, norm_.beta(), dim_, padding.mutable_data_ptr<float>(), 3 * dim_);
    attention_ = GridSelfAttention(
        {.side = side_, .hidden = dim_, .heads = c.heads[stage], .window = c.windows[stage]},
        s.precision(), padding, {}, pair_biases(s / "attn", c.heads[stage], c.windows[stage]));
}

at::Tensor Block::operator()(at::Tensor tokens, TokenBuffers& buffers,
                             const Schedule& schedule) const {
    const int64_t count = side_ * side_;
    at::Tensor output = fresh_tensor({count, dim_});
    float* x = tokens.mutable_data_ptr<float>();
    float* qkv = buffers.qkv(count * 3 * dim_);
    float* attended = buffers.attended(count * dim_);
    float* out = output.mutable_data_ptr<float>();
    linear_of_norm(norm_, qkv_, count, x, qkv, schedule);
    attention_(qkv, attended, schedule);
    over_rows(
        count, schedule,
        [&](int64_t first, int64_t rows, Arena&) {
            projection_.add_to(rows, attended + first * dim_, dim_, x + first * dim_, dim_);
        },
        row_tile(mlp_.precision(), count));
    parallel_for(side_, schedule, [&](int64_t y, Worker& worker) {
        const Span span("mlp", y);
        const int64_t width = side_ * dim_;
        const float* rows[3] = {y > 0 ? x + (y - 1) * width : nullptr, x + y * width,
                                y + 1 < side_ ? x + (y + 1) * width : nullptr};
        local_(rows, side_, out + y * width);
        mlp_(side_, out + y * width, worker.arena);
    });
    return output;
}

}  // namespace segrid::mobile_sam
