#include <ATen/Functions.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "core/trace.h"
#include "models/sam2/hiera.h"

namespace segrid::sam2 {
namespace {

int64_t mlp_width(const HieraConfig& c, int64_t dim) {
    return static_cast<int64_t>(static_cast<double>(dim) * c.mlp_ratio);
}

}  // namespace

Block::Block(const WeightScope& s, const HieraConfig& c, int64_t stage, bool first, int64_t layer)
    : side_(c.grid(stage)),
      in_(c.dims[static_cast<std::size_t>(stage)]),
      out_(in_),
      pool_(1),
      window_(c.windows[static_cast<std::size_t>(stage)]) {
    if (first && stage > 0) {  // starts on the grid, and in the windows, of the previous stage
        side_ = c.grid(stage - 1);
        in_ = c.dims[static_cast<std::size_t>(stage - 1)];
        window_ = c.windows[static_cast<std::size_t>(stage - 1)];
        pool_ = 2;
    }
    if (std::find(c.global_blocks.begin(), c.global_blocks.end(), layer) != c.global_blocks.end())
        window_ = 0;
    const WeightScope linears = s.encoder_linears();
    norm_ = LayerNorm(s / "layer_norm1", in_, c.eps);
    qkv_ = Linear(linears / "attn" / "qkv", in_, 3 * out_);
    if (in_ != out_) shortcut_ = Linear(linears / "proj", in_, out_);
    projection_ = Linear(linears / "attn" / "proj", out_, out_);
    attention_ = GridSelfAttention({.side = side_,
                                    .hidden = out_,
                                    .heads = c.heads[static_cast<std::size_t>(stage)],
                                    .window = window_,
                                    .pool = pool_},
                                   s.precision(), qkv_.of_zeros());
    mlp_ = ResidualMlp(s / "layer_norm2", linears / "mlp" / "proj_in", linears / "mlp" / "proj_out",
                       out_, mlp_width(c, out_), c.eps);
}

at::Tensor Block::operator()(const at::Tensor& tokens, TokenBuffers& buffers,
                             const Schedule& schedule) const {
    return fits_windows() ? by_windows(tokens, schedule) : by_steps(tokens, buffers, schedule);
}

bool Block::fits_windows() const {
    return window_ > 0 && window_ * window_ <= kRowTile && side_ % window_ == 0;
}

at::Tensor Block::by_windows(const at::Tensor& tokens, const Schedule& schedule) const {
    const int64_t count = side_ * side_, across = side_ / window_;
    const at::Tensor result = pool_ == 1 ? tokens : fresh_tensor({count / (pool_ * pool_), out_});
    // As many windows of one row of windows as a tile holds. Pooling leaves few of their tokens for
    // the MLP, so more of them go together then.
    const int64_t least = pool_ == 1 ? kRowTile : 4 * kRowTile,
                  rows = std::max(least, row_tile(mlp_.precision(), count)),
                  together = std::clamp<int64_t>(rows / (window_ * window_), 1, across),
                  parts = (across + together - 1) / together;
    const float* x = tokens.const_data_ptr<float>();
    float* out = result.mutable_data_ptr<float>();
    parallel_for(across * parts, schedule, [&](int64_t index, Worker& worker) {
        const int64_t first = index % parts * together;
        in_windows({index / parts, first, std::min(together, across - first)}, x, out,
                   worker.arena);
    });
    return result;
}

void Block::in_windows(const WindowRow& windows, const float* x, float* out, Arena& arena) const {
    const int64_t tokens = window_ * window_, rows = windows.count * tokens,
                  asked = rows / (pool_ * pool_);
    // Each line of each window: its first token on a grid of that side, and here, where the windows
    // follow each other.
    const auto lines = [&](int64_t window, int64_t side, const auto& body) {
        for (int64_t line = 0; line < windows.count * window; ++line) {
            const int64_t across = windows.x + line / window, down = line % window;
            body((windows.y * window + down) * side + across * window, line * window);
        }
    };
    Rows<float> qkv{arena.take<float>(rows * 3 * out_), 3 * out_}, own{nullptr, out_}, q = qkv;
    {
        const Span span("qkv");
        float* normed = arena.take<float>(rows * in_);
        own.data = arena.take<float>(rows * out_);
        lines(window_, side_, [&](int64_t on_grid, int64_t here) {
            norm_(window_, x + on_grid * in_, normed + here * in_);
            if (in_ == out_) std::copy_n(x + on_grid * in_, window_ * in_, own[here]);
        });
        qkv_(rows, normed, in_, qkv.data, qkv.stride);
        if (in_ != out_) shortcut_(rows, normed, in_, own.data, out_);
        own = pooled(windows.count, own, arena);
        q = pooled(windows.count, qkv, arena);
    }
    float* attended = arena.take<float>(asked * out_);
    {
        const Span span("window attention");
        for (int64_t w = 0; w < windows.count; ++w) {
            const int64_t first = w * asked / windows.count;
            attention_.in_window(q.from_row(first), qkv[w * tokens], attended + first * out_,
                                 arena);
        }
    }
    const Span span("mlp");
    projection_.add_to(asked, attended, out_, own.data, out_);
    mlp_(asked, own.data, arena);
    lines(window_ / pool_, side_ / pool_, [&](int64_t on_grid, int64_t here) {
        std::copy_n(own[here], window_ / pool_ * out_, out + on_grid * out_);
    });
}

Rows<float> Block::pooled(int64_t windows, Rows<float> x, Arena& arena) const {
    if (pool_ == 1) return x;
    const int64_t lines = windows * window_ / pool_, line = window_ / pool_ * out_;
    float* out = arena.take<float>(lines * line);
    for (int64_t i = 0; i < lines; ++i)
        max_pool_row(window_, pool_, out_, x.from_row(i * pool_ * window_), out + i * line);
    return {out, out_};
}

at::Tensor Block::by_steps(const at::Tensor& tokens, TokenBuffers& buffers,
                           const Schedule& schedule) const {
    const int64_t count = side_ * side_, asked = count / (pool_ * pool_);
    const float* x = tokens.const_data_ptr<float>();
    at::Tensor widened, result;
    if (in_ != out_) widened = fresh_tensor({count, out_});
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
