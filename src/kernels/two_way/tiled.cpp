// Tiles of 64 keys that stay in the second-level cache through the whole sweep.
#include <algorithm>

#include "kernels/gemm/op.h"
#include "kernels/rows/op.h"
#include "kernels/two_way/implementations.h"

namespace segrid::two_way {
namespace {

constexpr int64_t kTile = 64;

void add_position(int64_t n, int64_t dim, const float* keys, const float* position, float* out) {
    add(n * dim, keys, position, out);
}

}  // namespace

void tiled(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    const Arena::Scope scope(arena);
    const int64_t dim = s.shape.dim, columns = s.shape.columns(), live = s.shape.heads * s.shape.tokens;
    float* placed = arena.take<float>(kTile * dim);  // keys + position
    float* scores = arena.take<float>(kTile * columns);
    float* delta = arena.take<float>(kTile * dim);
    float* weights = arena.take<float>(columns * kTile);
    float* scale = arena.take<float>(columns);
    for (int64_t k = begin; k < end; k += kTile) {
        const int64_t n = std::min(kTile, end - k);
        const float* keys = s.keys_in + k * dim;
        const float* position = s.position + k * dim;
        if (s.update != nullptr) {
            const ImageUpdate& u = *s.update;
            const float* rows = u.side.rows != nullptr ? u.side.rows + k * u.side.width : placed;
            if (u.side.rows == nullptr) add_position(n, dim, keys, position, placed);
            matmul(n, columns, u.side.width, rows, u.side.width, u.queries, columns, scores, columns);
            for (int64_t i = 0; i < n; ++i) {
                float* row = scores + i * columns;
                add(live, row, u.query_bias, row);
                softmax_strided(s.shape.tokens, s.shape.heads, row);
                std::fill(row + live, row + columns, 0.0F);
            }
            matmul(n, dim, columns, scores, columns, u.values, dim, delta, dim);
            float* out = s.keys_out + k * dim;
            for (int64_t i = 0; i < n; ++i) {
                float* row = delta + i * dim;
                add(dim, row, u.bias, row);
                add(dim, row, keys + i * dim, row);
                layer_norm(dim, row, u.gamma, u.beta, u.eps, out + i * dim);
            }
            keys = out;
        }
        if (s.read != nullptr) {
            const TokenRead& r = *s.read;
            const float* rows = r.side.rows != nullptr ? r.side.rows + k * r.side.width : placed;
            if (r.side.rows == nullptr) add_position(n, dim, keys, position, placed);
            matmul(n, columns, r.side.width, rows, r.side.width, r.queries, columns, scores, columns);
            const int64_t width = r.values.width;
            if (running_softmax_columns(n, columns, scores, columns, partial.max, partial.sum, scale, weights, kTile)) {
                for (int64_t c = 0; c < columns; ++c) {
                    if (scale[c] != 1.0F) scale_row(width, scale[c], partial.acc + c * width);
                }
            }
            const float* values = r.values.rows != nullptr ? r.values.rows + k * width : keys;
            matmul(columns, width, n, weights, kTile, values, width, partial.acc, width, true);
        }
    }
}

}  // namespace segrid::two_way
