#include "nn/transformer.h"

#include <ATen/Functions.h>

#include <cmath>
#include <cstring>

#include "core/cpu.h"
#include "core/fresh_tensor.h"
#include "core/geometry.h"
#include "core/trace.h"

namespace segrid {
namespace {

// MLP neurons at a time, so that a tile stays in the second-level cache.
constexpr int64_t kHidden = PackedMatrix::kGroup;

struct AttendedGrid {
    Size size;
    const RelativePositions* positions;  // null: without
    int64_t hidden, heads;
};

// The queries q, `asking` rows, head by head against the keys and values of all tokens of the grid.
void attend_to_all(Precision precision, const AttendedGrid& grid, int64_t asking,
                   Rows<const float> q, const float* qkv, float* out, const Schedule& schedule) {
    const int64_t hidden = grid.hidden, heads = grid.heads;
    const int64_t dim = hidden / heads, tokens = grid.size.area();
    at::Tensor packed = fresh_tensor({heads, PackedHead::floats(tokens, dim)});
    std::vector<PackedHead> of_heads(static_cast<std::size_t>(heads));
    parallel_for(heads, schedule, [&](int64_t h, Worker& worker) {
        const Span span("pack keys", h);
        const float* own = qkv + h * dim;
        of_heads[static_cast<std::size_t>(h)] =
            pack_head(precision, tokens, dim, own + hidden, own + 2 * hidden, 3 * hidden,
                      packed.mutable_data_ptr<float>() + h * packed.size(1), worker.arena);
    });
    const int64_t size = cpu_features().amx ? row_tile(precision, heads * asking) : kRowTile,
                  tiles = (asking + size - 1) / size;
    parallel_for(heads * tiles, schedule, [&](int64_t index, Worker& worker) {
        const Span span("global attention", index);
        const int64_t h = index / tiles, first = index % tiles * size;
        const GridAttention attention{.grid_h = grid.size.height,
                                      .grid_w = grid.size.width,
                                      .head_dim = dim,
                                      .scale = 1.0F / std::sqrt(static_cast<float>(dim)),
                                      .positions = grid.positions,
                                      .bias = nullptr,
                                      .head = of_heads[static_cast<std::size_t>(h)]};
        grid_attention(attention, first, std::min(size, asking - first), q[first] + h * dim,
                       q.stride, out + first * hidden + h * dim, hidden, worker.arena);
    });
}

}  // namespace

int64_t row_tile(Precision precision, int64_t rows) {
    if (precision == Precision::Int8Torch) return 8 * kRowTile;
    const CpuFeatures& cpu = cpu_features();
    if (!cpu.amx && (!cpu.avx2 || cpu.avx512)) return kRowTile;
    // AMX waits for weights (or keys) that do not fit the second-level cache unless more rows read
    // them together. So do products in fp32 on CPUs with AMX, whose cache of 2 MB has room for more
    // rows (measured on Emerald Rapids), and our products for AVX2 (on Zen 3). Every worker still
    // gets two tiles, and none waits longer for the last ones.
    const int64_t workers = threads(), fair = rows / (2 * workers);
    const auto longest = [&](int64_t size) {
        const int64_t tiles = (rows + size - 1) / size;
        return (tiles + workers - 1) / workers * size;
    };
    int64_t best = kRowTile;
    for (int64_t size = 2 * kRowTile; size <= std::min(4 * kRowTile, fair); size += kRowTile) {
        if (longest(size) <= longest(best)) best = size;
    }
    return best;
}

float* TokenBuffers::at_least(at::Tensor& buffer, int64_t floats) {
    if (!buffer.defined() || buffer.numel() < floats) {
        buffer.reset();  // before the larger one is made
        buffer = fresh_tensor({floats});
    }
    return buffer.mutable_data_ptr<float>();
}

void linear_of_norm(const LayerNorm& norm, const Linear& linear, int64_t rows, const float* x,
                    float* out, const Schedule& schedule) {
    const int64_t dim = linear.weight().k(), n = linear.weight().n();
    over_rows(
        rows, schedule,
        [&](int64_t first, int64_t count, Arena& arena) {
            const Span span("qkv");
            float* normed = arena.take<float>(count * dim);
            norm(count, x + first * dim, normed);
            linear(count, normed, dim, out + first * n, n);
        },
        row_tile(linear.weight().precision(), rows));
}

ResidualMlp::ResidualMlp(const WeightScope& norm, const WeightScope& in, const WeightScope& out,
                         int64_t dim, int64_t hidden, float eps, Activation activation)
    : ResidualMlp(LayerNorm(norm, dim, eps), Linear(in, dim, hidden), Linear(out, hidden, dim),
                  activation) {}

ResidualMlp::ResidualMlp(LayerNorm norm, Linear in, Linear out, Activation activation)
    : dim_(in.weight().k()),
      hidden_(in.weight().n()),
      activation_(activation),
      norm_(std::move(norm)),
      in_(std::move(in)),
      out_(std::move(out)) {}

void ResidualMlp::operator()(int64_t rows, const float* from, float* x, Arena& arena) const {
    float* normed = arena.take<float>(rows * dim_);
    norm_(rows, from, normed);
    if (precision() == Precision::Int8Torch) {  // cannot be computed in parts
        float* whole = arena.take<float>(rows * hidden_);
        in_(rows, normed, dim_, whole, hidden_, activation_);
        return out_.add_to(rows, whole, hidden_, x, dim_);
    }
    const LinearInput input = linear_input(rows, {normed, dim_}, in_.weight(), arena);
    float* inner = arena.take<float>(rows * kHidden);
    for (int64_t n0 = 0; n0 < hidden_; n0 += kHidden) {
        const int64_t n = std::min(kHidden, hidden_ - n0);
        linear_columns(input, in_.weight(), n0, n, {inner, kHidden},
                       {.bias = in_.bias(), .activation = activation_});
        linear_part(rows, {inner, kHidden}, out_.weight(), n0, n, {x, dim_}, /*accumulate=*/true);
    }
    for (int64_t r = 0; r < rows; ++r) add(dim_, x + r * dim_, out_.bias(), x + r * dim_);
}

GridSelfAttention::GridSelfAttention(const GridAttentionShape& shape, Precision precision,
                                     at::Tensor padding, RelativePositions positions,
                                     at::Tensor bias)
    : shape_(shape),
      precision_(precision),
      padding_(std::move(padding)),
      positions_(std::move(positions)),
      bias_(std::move(bias)) {}

void GridSelfAttention::operator()(const float* qkv, float* out, const Schedule& schedule) const {
    at::Tensor pooled;
    const float* q = qkv;
    int64_t ldq = 3 * shape_.hidden;
    if (shape_.pool > 1) {
        pooled = max_pool(shape_.side, shape_.pool, shape_.hidden, qkv, ldq, schedule);
        q = pooled.const_data_ptr<float>();
        ldq = shape_.hidden;
    }
    if (shape_.window > 0) in_windows(q, ldq, qkv, out, schedule);
    else over_all(q, ldq, qkv, out, schedule);
}

void GridSelfAttention::head_in_window(int64_t head, int64_t asking, Rows<const float> q,
                                       Rows<const float> k, Rows<const float> v, Rows<float> out,
                                       float* packed, Arena& arena) const {
    const int64_t window = shape_.window, tokens = window * window,
                  dim = shape_.hidden / shape_.heads;
    const float* bias =
        bias_.defined() ? bias_.const_data_ptr<float>() + head * tokens * tokens : nullptr;
    const GridAttention attention{
        .grid_h = window,
        .grid_w = window,
        .head_dim = dim,
        .scale = 1.0F / std::sqrt(static_cast<float>(dim)),
        .positions = &positions_,
        .bias = bias,
        .head = pack_head(precision_, tokens, dim, k.data, v.data, k.stride, packed, arena)};
    grid_attention(attention, 0, asking, q.data, q.stride, out.data, out.stride, arena);
}

void GridSelfAttention::in_window(Rows<const float> q, const float* qkv, float* out,
                                  Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const auto& [side, hidden, heads, window, pool] = shape_;
    const int64_t dim = hidden / heads, tokens = window * window;
    float* packed = arena.take<float>(PackedHead::floats(tokens, dim));
    const Rows<const float> k{qkv + hidden, 3 * hidden}, v{qkv + 2 * hidden, 3 * hidden};
    for (int64_t h = 0; h < heads; ++h) {
        head_in_window(h, tokens / (pool * pool), q.from_column(h * dim), k.from_column(h * dim),
                       v.from_column(h * dim), {out + h * dim, hidden}, packed, arena);
    }
}

void GridSelfAttention::in_windows(const float* queries, int64_t ldq, const float* qkv, float* out,
                                   const Schedule& schedule) const {
    const auto& [side, hidden, heads, window, pool] = shape_;
    const int64_t dim = hidden / heads, across = (side + window - 1) / window,
                  tokens = window * window;
    const int64_t query_side = side / pool, query_window = window / pool;
    parallel_for(
        across * across, schedule,
        [&, side = side, hidden = hidden, heads = heads, window = window, pool = pool](
            int64_t index, Worker& worker) {
            const Span span("window attention", index);
            const int64_t y0 = index / across * window, x0 = index % across * window;
            const int64_t qy0 = y0 / pool, qx0 = x0 / pool;
            // Rows of queries beyond the grid's edge are left out. Columns are kept,
            // because the row number of a query must be its position in the window.
            const int64_t asking = std::min(query_window, query_side - qy0) * query_window;
            float* q = worker.arena.take<float>(asking * dim);
            float* k = worker.arena.take<float>(tokens * dim);
            float* v = worker.arena.take<float>(tokens * dim);
            float* result = worker.arena.take<float>(asking * dim);
            float* packed = worker.arena.take<float>(PackedHead::floats(tokens, dim));
            const std::size_t bytes = static_cast<std::size_t>(dim) * sizeof(float);
            const auto of_query = [&](int64_t t) {
                return std::pair{qy0 + t / query_window, qx0 + t % query_window};
            };
            for (int64_t h = 0; h < heads; ++h) {
                for (int64_t t = 0; t < tokens; ++t) {
                    const int64_t y = y0 + t / window, x = x0 + t % window;
                    const float* row = (y < side && x < side ? qkv + (y * side + x) * 3 * hidden
                                                             : padding_.const_data_ptr<float>()) +
                                       h * dim;
                    std::memcpy(k + t * dim, row + hidden, bytes);
                    std::memcpy(v + t * dim, row + 2 * hidden, bytes);
                }
                for (int64_t t = 0; t < asking; ++t) {
                    const auto [y, x] = of_query(t);
                    if (x < query_side)
                        std::memcpy(q + t * dim, queries + (y * query_side + x) * ldq + h * dim,
                                    bytes);
                    else std::memset(q + t * dim, 0, bytes);
                }
                head_in_window(h, asking, Rows<const float>{q, dim}, Rows<const float>{k, dim},
                               Rows<const float>{v, dim}, {result, dim}, packed, worker.arena);
                for (int64_t t = 0; t < asking; ++t) {
                    const auto [y, x] = of_query(t);
                    if (x < query_side)
                        std::memcpy(out + (y * query_side + x) * hidden + h * dim, result + t * dim,
                                    bytes);
                }
            }
        });
}

void GridSelfAttention::over_all(const float* q, int64_t ldq, const float* qkv, float* out,
                                 const Schedule& schedule) const {
    const AttendedGrid grid{{shape_.side, shape_.side}, &positions_, shape_.hidden, shape_.heads};
    attend_to_all(precision_, grid, shape_.query_side() * shape_.query_side(), {q, ldq}, qkv, out,
                  schedule);
}

void self_attention(Precision precision, int64_t tokens, int64_t hidden, int64_t heads,
                    const float* qkv, float* out, const Schedule& schedule) {
    const AttendedGrid grid{{tokens, 1}, /*positions=*/nullptr, hidden, heads};
    attend_to_all(precision, grid, tokens, {qkv, 3 * hidden}, qkv, out, schedule);
}

at::Tensor max_pool(int64_t side, int64_t pool, int64_t width, const float* x, int64_t ld,
                    const Schedule& schedule) {
    const int64_t coarse = side / pool;
    at::Tensor out = fresh_tensor({coarse * coarse, width});
    float* data = out.mutable_data_ptr<float>();
    const Rows<const float> rows{x, ld};
    parallel_for(coarse, schedule, [&](int64_t y, Worker&) {
        max_pool_row(side, pool, width, rows.from_row(y * pool * side), data + y * coarse * width);
    });
    return out;
}

void max_pool_row(int64_t side, int64_t pool, int64_t width, Rows<const float> x, float* out) {
    for (int64_t i = 0; i < side / pool; ++i, out += width) {
        for (int64_t part = 0; part < pool * pool; ++part) {
            const float* from = x[part / pool * side + i * pool + part % pool];
            if (part == 0) std::copy_n(from, width, out);
            else
                for (int64_t c = 0; c < width; ++c) out[c] = std::max(out[c], from[c]);
        }
    }
}

}  // namespace segrid
