#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/trace.h"

#include "models/sam/vision_encoder.h"

namespace segrid::sam {
namespace {

constexpr int64_t kRows = 64;      // tokens per task
constexpr int64_t kHidden = 512;   // MLP neurons at a time, so that a tile stays in the second-level cache

template <class Body>
void over_rows(int64_t rows, const Schedule& schedule, const Body& body) {
    parallel_for((rows + kRows - 1) / kRows, schedule, [&](int64_t tile, Worker& worker) {
        body(tile * kRows, std::min(kRows, rows - tile * kRows), worker.arena);
    });
}

}  // namespace

Block::Block(const Scope& scope, const VisionConfig& c, int64_t layer)
    : grid_(c.grid()), hidden_(c.hidden), heads_(c.heads), window_(c.is_global(layer) ? 0 : c.window), mlp_(c.mlp),
      norm1_(scope / "layer_norm1", c.hidden, c.eps), norm2_(scope / "layer_norm2", c.hidden, c.eps),
      qkv_(scope / "attn" / "qkv", c.hidden, 3 * c.hidden, c.qkv_bias),
      projection_(scope / "attn" / "proj", c.hidden, c.hidden), mlp1_(scope / "mlp" / "lin1", c.hidden, c.mlp),
      mlp2_(scope / "mlp" / "lin2", c.mlp, c.hidden) {
    const int64_t extent = window_ > 0 ? window_ : grid_;
    if (c.relative_positions) {
        const at::Tensor rel_h = (scope / "attn").tensor("rel_pos_h", {2 * extent - 1, hidden_ / heads_});
        const at::Tensor rel_w = (scope / "attn").tensor("rel_pos_w", {2 * extent - 1, hidden_ / heads_});
        positions_ = RelativePositions(rel_h, rel_w);
    }
    padding_ = at::zeros({3 * hidden_});
    if (c.qkv_bias) std::memcpy(padding_.mutable_data_ptr<float>(), qkv_.bias(), padding_.nbytes());
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
        norm1_(rows, x + first * hidden_, normed);
        qkv_(rows, normed, hidden_, qkv_data + first * 3 * hidden_, 3 * hidden_);
    });
    if (window_ > 0) {
        window_attention(qkv_data, attended_data, schedule);
    } else {
        global_attention(qkv_data, attended_data, schedule);
    }
    over_rows(count, schedule, [&](int64_t first, int64_t rows, Arena& arena) {
        const Span span("mlp");
        float* tile = x + first * hidden_;
        projection_.add_to(rows, attended_data + first * hidden_, hidden_, tile, hidden_);
        float* normed = arena.take<float>(rows * hidden_);
        float* inner = arena.take<float>(rows * kHidden);
        norm2_(rows, tile, normed);
        for (int64_t n0 = 0; n0 < mlp_; n0 += kHidden) {
            const int64_t n = std::min(kHidden, mlp_ - n0);
            linear_columns(rows, normed, hidden_, mlp1_.weight(), n0, n, inner, kHidden,
                           {.bias = mlp1_.bias(), .activation = Activation::Gelu});
            linear_part(rows, inner, kHidden, mlp2_.weight(), n0, n, tile, hidden_, true);
        }
        for (int64_t r = 0; r < rows; ++r) add(hidden_, tile + r * hidden_, mlp2_.bias(), tile + r * hidden_);
    });
}

// Windows of window x window tokens; where the grid is not a multiple, tokens behind its edge take part as keys whose q, k and v are the
// bias alone (SAM pads after the norm). Only real tokens are projected and only their results are kept.
void Block::window_attention(const float* qkv, float* out, const Schedule& schedule) const {
    const int64_t dim = hidden_ / heads_, across = (grid_ + window_ - 1) / window_, tokens = window_ * window_;
    parallel_for(across * across, schedule, [&](int64_t index, Worker& worker) {
        const Span span("window attention", index);
        const int64_t y0 = index / across * window_, x0 = index % across * window_;
        std::vector<const float*> rows(static_cast<std::size_t>(tokens));
        for (int64_t t = 0; t < tokens; ++t) {
            const int64_t y = y0 + t / window_, x = x0 + t % window_;
            rows[static_cast<std::size_t>(t)] =
                y < grid_ && x < grid_ ? qkv + (y * grid_ + x) * 3 * hidden_ : padding_.const_data_ptr<float>();
        }
        float* q = worker.arena.take<float>(tokens * dim);
        float* k = worker.arena.take<float>(tokens * dim);
        float* v = worker.arena.take<float>(tokens * dim);
        float* result = worker.arena.take<float>(tokens * dim);
        float* packed = worker.arena.take<float>(PackedHead::floats(tokens, dim));
        GridAttention attention{.grid_h = window_, .grid_w = window_, .head_dim = dim,
                                .scale = 1.0F / std::sqrt(static_cast<float>(dim)), .positions = &positions_, .head = {}};
        const std::size_t bytes = static_cast<std::size_t>(dim) * sizeof(float);
        for (int64_t h = 0; h < heads_; ++h) {
            for (int64_t t = 0; t < tokens; ++t) {
                const float* row = rows[static_cast<std::size_t>(t)] + h * dim;
                std::memcpy(q + t * dim, row, bytes);
                std::memcpy(k + t * dim, row + hidden_, bytes);
                std::memcpy(v + t * dim, row + 2 * hidden_, bytes);
            }
            attention.head = pack_head(qkv_.weight().precision(), tokens, dim, k, v, dim, packed, worker.arena);
            grid_attention(attention, 0, tokens, q, dim, result, dim, worker.arena);
            for (int64_t t = 0; t < tokens; ++t) {
                const int64_t y = y0 + t / window_, x = x0 + t % window_;
                if (y < grid_ && x < grid_) std::memcpy(out + (y * grid_ + x) * hidden_ + h * dim, result + t * dim, bytes);
            }
        }
    });
}

void Block::global_attention(const float* qkv, float* out, const Schedule& schedule) const {
    const int64_t dim = hidden_ / heads_, tokens = grid_ * grid_;
    at::Tensor packed = at::empty({heads_, PackedHead::floats(tokens, dim)});
    std::vector<PackedHead> heads(static_cast<std::size_t>(heads_));
    parallel_for(heads_, schedule, [&](int64_t h, Worker& worker) {
        const Span span("pack keys", h);
        const float* own = qkv + h * dim;
        heads[static_cast<std::size_t>(h)] = pack_head(qkv_.weight().precision(), tokens, dim, own + hidden_, own + 2 * hidden_, 3 * hidden_,
                                                       packed.mutable_data_ptr<float>() + h * packed.size(1), worker.arena);
    });
    const int64_t tiles = (tokens + kRows - 1) / kRows;
    parallel_for(heads_ * tiles, schedule, [&](int64_t index, Worker& worker) {
        const Span span("global attention", index);
        const int64_t h = index / tiles, first = index % tiles * kRows;
        const GridAttention attention{.grid_h = grid_, .grid_w = grid_, .head_dim = dim,
                                      .scale = 1.0F / std::sqrt(static_cast<float>(dim)), .positions = &positions_,
                                      .head = heads[static_cast<std::size_t>(h)]};
        grid_attention(attention, first, std::min(kRows, tokens - first), qkv + first * 3 * hidden_ + h * dim, 3 * hidden_,
                       out + first * hidden_ + h * dim, hidden_, worker.arena);
    });
}

}  // namespace segrid::sam
