// Tiles of 64 keys, which stay in the second-level cache during the whole sweep.
#include <algorithm>

#include "kernels/rows/op.h"
#include "kernels/two_way/implementations.h"

namespace segrid::two_way {
namespace {

constexpr int64_t kTile = 64;

// scores[n, columns] of the tile that begins at key k. `placed` are its keys plus their position.
void score(const TwoWayShape& shape, const ImageSide& side, int64_t k, int64_t n,
           const float* placed, float* scores) {
    const int64_t columns = shape.columns();
    if (side.rows == nullptr) {
        matmul(n, columns, shape.dim, placed, shape.dim, side.queries, scores, columns);
        return;
    }
    const int64_t all = shape.heads * side.width;
    for (int64_t g = 0; g < shape.groups(); ++g) {
        const int64_t first = g * shape.group() * side.width,
                      depth = std::min(shape.group() * side.width, all - first);
        matmul(n, shape.group_columns(), depth, side.rows + k * all + first, all,
               side.queries.from_row(g * side.depth(shape)), scores + g * shape.group_columns(),
               columns);
    }
}

// keys = LayerNorm(keys + softmax_t(scores) values + bias).
void update_tile(const ImageUpdate& u, int64_t n, float* scores, const float* keys, float* delta,
                 float* out) {
    const int64_t dim = u.shape.dim, columns = u.shape.columns(),
                  live = u.shape.heads * u.shape.slots();
    for (int64_t i = 0; i < n; ++i) {
        softmax_groups(live, u.shape.slots(), u.query_bias, scores + i * columns);
        std::fill(scores + i * columns + live, scores + (i + 1) * columns, 0.0F);
    }
    matmul(n, dim, columns, scores, columns, u.values, delta, dim);
    for (int64_t i = 0; i < n; ++i) {
        residual_norm(dim, delta + i * dim, u.bias, keys + i * dim, u.gamma, u.beta, u.eps,
                      out + i * dim);
    }
}

// Adds the tile's weighted value rows to the partial sums of every column.
void read_tile(const TokenRead& r, Precision precision, int64_t k, int64_t n, float* scores,
               float* weights, float* scale, const float* keys, TokenPartial& partial,
               Arena& arena) {
    const Arena::Scope scope(arena);
    const int64_t columns = r.shape.columns(), width = r.width();
    if (running_softmax_columns(n, columns, scores, columns, partial.max, partial.sum, scale,
                                weights, kTile)) {
        for (int64_t c = 0; c < columns; ++c) {
            if (scale[c] != 1.0F) scale_row(width, scale[c], partial.acc + c * width);
        }
    }
    if (r.values == nullptr) {
        matmul(columns, width, n, weights, kTile,
               make_factor(precision, n, width, keys, width, arena), partial.acc, width, true);
        return;
    }
    const int64_t all = r.shape.heads * r.side.width, across = r.shape.group_columns();
    const Factor values = make_factor(precision, n, all, r.values + k * all, all, arena);
    for (int64_t g = 0; g < r.shape.groups(); ++g) {
        const int64_t first = g * width, count = std::min(width, all - first);
        matmul(across, count, n, weights + g * across * kTile, kTile, values.from_column(first),
               partial.acc + g * across * width, width, true);
    }
}

}  // namespace

void tiled(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    const Arena::Scope scope(arena);
    const int64_t dim = s.read->shape.dim;
    const int64_t columns =
        std::max(s.read->shape.columns(), s.update != nullptr ? s.update->shape.columns() : 0);
    float* placed = arena.take<float>(kTile * dim);  // keys + position
    float* scores = arena.take<float>(kTile * columns);
    float* delta = arena.take<float>(kTile * dim);
    float* weights = arena.take<float>(columns * kTile);
    float* scale = arena.take<float>(columns);
    for (int64_t k = begin; k < end; k += kTile) {
        const int64_t n = std::min(kTile, end - k);
        const float* keys = s.keys_in + k * dim;
        const auto place = [&] { add(n * dim, keys, s.position + k * dim, placed); };
        if (s.update != nullptr) {
            if (s.update->side.rows == nullptr) place();
            score(s.update->shape, s.update->side, k, n, placed, scores);
            update_tile(*s.update, n, scores, keys, delta, s.keys_out + k * dim);
            keys = s.keys_out + k * dim;
        }
        if (s.read->side.rows == nullptr) place();
        score(s.read->shape, s.read->side, k, n, placed, scores);
        read_tile(*s.read, s.precision, k, n, scores, weights, scale, keys, partial, arena);
    }
}

}  // namespace segrid::two_way
