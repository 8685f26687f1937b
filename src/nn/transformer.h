// The parts of vision transformers, over all tokens of a square grid: row tiles, the MLP with its
// residual, and self-attention in windows or over the whole grid.
#pragma once

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/attention/op.h"
#include "nn/layers.h"

namespace segrid {

inline constexpr int64_t kRowTile = 64;  // the fewest tokens of a task

// Calls body(first row, rows, arena) for tiles of rows, on the pool.
template <class Body>
void over_rows(int64_t rows, const Schedule& schedule, const Body& body, int64_t size = kRowTile) {
    parallel_for((rows + size - 1) / size, schedule, [&](int64_t tile, Worker& worker) {
        body(tile * size, std::min(size, rows - tile * size), worker.arena);
    });
}
// How many rows a task should take, of `rows` in all, for products of that precision.
int64_t row_tile(Precision precision, int64_t rows);

// Buffers over all tokens, which blocks reuse one after the other, because fresh pages cost time.
class TokenBuffers {
public:
    float* qkv(int64_t floats) { return at_least(qkv_, floats); }
    float* attended(int64_t floats) { return at_least(attended_, floats); }

private:
    static float* at_least(at::Tensor& buffer, int64_t floats);
    at::Tensor qkv_, attended_;
};

// out[rows, n] = linear(norm(x)), over tiles of rows.
void linear_of_norm(const LayerNorm& norm, const Linear& linear, int64_t rows, const float* x,
                    float* out, const Schedule& schedule);

// x += W2 act(W1 norm(x) + b1) + b2
class ResidualMlp {
public:
    ResidualMlp() = default;
    ResidualMlp(const WeightScope& norm, const WeightScope& in, const WeightScope& out, int64_t dim,
                int64_t hidden, float eps, Activation activation = Activation::Gelu);
    ResidualMlp(LayerNorm norm, Linear in, Linear out, Activation activation = Activation::Gelu);
    void operator()(int64_t rows, float* x, Arena& arena) const { (*this)(rows, x, x, arena); }
    // x += W2 act(W1 norm(from) + b1) + b2
    void operator()(int64_t rows, const float* from, float* x, Arena& arena) const;
    Precision precision() const { return in_.weight().precision(); }

private:
    int64_t dim_ = 0, hidden_ = 0;
    Activation activation_ = Activation::Gelu;
    LayerNorm norm_;
    Linear in_, out_;
};

struct GridAttentionShape {
    int64_t side = 0, hidden = 0, heads = 0;
    int64_t window = 0;  // tokens along each side of a window; 0: all tokens attend to all
    int64_t pool = 1;    // the grid of queries is this many times coarser; divides window
    int64_t query_side() const { return side / pool; }
};

// If the grid is not a multiple of the window, tokens beyond its edge take part as keys whose k and
// v are `padding`. Models pad after the norm, so the padding is the bias alone. These tokens have
// no queries.
class GridSelfAttention {
public:
    GridSelfAttention() = default;
    // bias: [heads, window tokens, window tokens], or undefined.
    GridSelfAttention(const GridAttentionShape& shape, Precision precision, at::Tensor padding,
                      RelativePositions positions = {}, at::Tensor bias = {});

    // qkv: rows [q | k | v] of side x side tokens, 3 hidden floats each. out: [query_side^2,
    // hidden]. With pooling, each query is the component-wise maximum of pool x pool neighbours.
    void operator()(const float* qkv, float* out, const Schedule& schedule) const;
    // The same for one whole window. qkv: rows [q | k | v] of its tokens, row by row of the window.
    // q: its queries' rows, which are qkv's unless they were pooled. out: `hidden` floats a query.
    void in_window(Rows<const float> q, const float* qkv, float* out, Arena& arena) const;

private:
    // One head of a window: its queries, `asking` rows, against its keys and values. packed: memory
    // for these.
    void head_in_window(int64_t head, int64_t asking, Rows<const float> q, Rows<const float> k,
                        Rows<const float> v, Rows<float> out, float* packed, Arena& arena) const;
    void in_windows(const float* q, int64_t ldq, const float* qkv, float* out,
                    const Schedule& schedule) const;
    void over_all(const float* q, int64_t ldq, const float* qkv, float* out,
                  const Schedule& schedule) const;

    GridAttentionShape shape_;
    Precision precision_ = Precision::Fp32;
    at::Tensor padding_;  // [3 hidden]
    RelativePositions positions_;
    at::Tensor bias_;
};

// Self-attention of `tokens` tokens without a grid; each attends to all. qkv: rows [q | k | v] of 3
// hidden floats; out: [tokens, hidden].
void self_attention(Precision precision, int64_t tokens, int64_t hidden, int64_t heads,
                    const float* qkv, float* out, const Schedule& schedule);

// Component-wise maximum over each pool x pool block of a side x side grid of rows, which are `ld`
// floats apart. Returns [(side / pool)^2, width].
at::Tensor max_pool(int64_t side, int64_t pool, int64_t width, const float* x, int64_t ld,
                    const Schedule& schedule);
// One row of the coarser grid. x: the first of its `pool` rows of the finer one.
void max_pool_row(int64_t side, int64_t pool, int64_t width, Rows<const float> x, float* out);

}  // namespace segrid
