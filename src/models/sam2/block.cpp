#include <ATen/Functions.h>

#include <algorithm>

#include "core/trace.h"
#include "models/sam2/hiera.h"

namespace segrid::sam2 {
namespace {

int64_t mlp_width(const HieraConfig& c, int64_t dim) {
    return static_cast<int64_t>(static_cast<double>(dim) * c.mlp_ratio);
}

}  // namespace

Block::Block(const WeightScope& s, const HieraConfig& c, int64_t stage, bool first, int64_t layer)
    : side_(c.grid(stage)), in_(c.dims[static_cast<std::size_t>(stage)]), out_(in_), pool_(1) {
    auto window = c.windows[static_cast<std::size_t>(stage)];
    if (first && stage > 0) {  // starts on the grid, and in the windows, of the previous stage
        side_ = c.grid(stage - 1);
        in_ = c.dims[static_cast<std::size_t>(stage - 1)];
        window = c.windows[static_cast<std::size_t>(stage - 1)];
        pool_ = 2;
    }
    if (std::find(c.global_blocks.begin(), c.global_blocks.end(), layer) != c.global_blocks.end())
        window = 0;
    const WeightScope linears = s.encoder_linears();
    norm_ = LayerNorm(s / "layer_norm1", in_, c.eps);
    qkv_ = Linear(linears / "attn" / "qkv", in_, 3 * out_);
    if (in_ != out_) shortcut_ = Linear(linears / "proj", in_, out_);
    projection_ = Linear(linears / "attn" / "proj", out_, out_);
    attention_ = GridSelfAttention({.side = side_,
                                    .hidden = out_,
                                    .heads = c.heads[static_cast<std::size_t>(stage)],
                                    .window = window,
                                    .pool = pool_},
                                   s.precision(), qkv_.of_zeros());
    mlp_ = ResidualMlp(s / "layer_norm2", linears / "mlp" / "proj_in", linears / "mlp" / "proj_out",
                       out_, mlp_width(c, out_), c.eps);
}

at::Tensor Block::operator()(const at::Tensor& tokens, TokenBuffers& buffers,
                             const Schedule& schedule) const {
    const int64_t count = side_ * side_, asked = count / (pool_ * pool_);
    const float* x = tokens.const_data_ptr<float>();
    at::Tensor widened, result;
    if (in_ != out_) widened = at::empty({count, out_});
    float* qkv = buffers.qkv(count * 3 * out_);
    float* attended = buffers.attended(asked * out_);
    float* widened_data = in_ != out_ ? widened.mutable_data_ptr<float>() : nullptr;
    over_rows(
        count, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("qkv");
            float* normed = arena.take<float>(rows * in_);
            norm_(rows, x + first * in_, normed);
            qkv_(rows, normed, in_, qkv + first * 3 * out_, 3 * out_);
            if (widened_data != nullptr)
                shortcut_(rows, normed, in_, widened_data + first * out_, out_);
        },
        row_tile(mlp_.precision(), count));
    attention_(qkv, attended, schedule);
    if (in_ != out_) result = max_pool(side_, pool_, out_, widened_data, out_, schedule);
    else if (pool_ == 1) result = tokens;
    else result = max_pool(side_, pool_, out_, x, out_, schedule);
    float* to = result.mutable_data_ptr<float>();
    over_rows(
        asked, schedule,
        [&](int64_t first, int64_t rows, Arena& arena) {
            const Span span("mlp");
            projection_.add_to(rows, attended + first * out_, out_, to + first * out_, out_);
            mlp_(rows, to + first * out_, arena);
        },
        row_tile(mlp_.precision(), asked));
    return result;
}

}  // namespace segrid::sam2
