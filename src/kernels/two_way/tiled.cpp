// Tiles of 64 keys, which stay in the second-level cache during the whole sweep.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/rows/op.h"
#include "kernels/two_way/implementations.h"
#include "kernels/two_way/streams.h"

namespace segrid::two_way {
namespace {

constexpr int64_t kTile = 64;

// Keys [k, k + n) of a sweep, and memory for what is made of them.
struct Tile {
    int64_t k, n;
    const float* keys;  // [n, dim]
    float* placed;      // [n, dim]: keys plus position
    float* scores;      // [n, columns]
    float* projected;   // [n, heads * width]: projections of updated keys
    float* delta;       // [n, dim]: what an update adds to the keys; or [n, weights]: see Deviation
    float *weights, *scale;  // [columns, kTile], [columns]: see running_softmax_columns
    Streams* streams;
};

void product(const Tile& tile, int64_t m, int64_t n, int64_t k, Rows<const float> a,
             const Factor& b, Rows<float> c, bool accumulate = false) {
    matmul(m, n, k, a, b, c, accumulate, tile.streams->share(m * n * k));
}

// out[n, columns]: the rows of each group of heads, which are `width` wide, times the group's
// block.
void multiply_blocks(const TwoWayShape& shape, int64_t width, const Tile& tile,
                     Rows<const float> rows, const Factor& blocks, Rows<float> out) {
    for (int64_t g = 0; g < shape.groups(); ++g) {
        const int64_t first = g * shape.group() * width,
                      depth = std::min(shape.group() * width, shape.heads * width - first);
        product(tile, tile.n, shape.group_columns(), depth, rows.from_column(first),
                blocks.from_row(g * shape.block_depth(width)),
                out.from_column(g * shape.group_columns()));
    }
    const int64_t filled = shape.groups() * shape.group_columns();
    for (int64_t i = 0; i < tile.n && filled < shape.columns(); ++i)
        std::fill(out[i] + filled, out[i] + shape.columns(), 0.0F);
}

void score(const TwoWayShape& shape, const ImageSide& side, const UpdatedKeys* updated,
           const Tile& tile, Rows<float> out) {
    const int64_t n = tile.n;
    if (side.rows == nullptr) {
        product(tile, n, shape.columns(), shape.dim, {tile.placed, shape.dim}, side.queries, out);
        return;
    }
    const int64_t all = shape.heads * side.width;
    const float* rows = side.rows + tile.k * all;
    if (side.fixed != nullptr) {
        for (int64_t i = 0; i < n; ++i) {
            scale_add(all, updated->scale[tile.k + i], rows + i * all,
                      side.fixed + (tile.k + i) * all, tile.projected + i * all);
        }
        rows = tile.projected;
    }
    multiply_blocks(shape, side.width, tile, {rows, all}, side.queries, out);
    if (side.fixed != nullptr) {
        product(tile, n, shape.columns(), side.weights, updated->weights.from_row(tile.k),
                side.through, out, /*accumulate=*/true);
    }
}

// Turns scores into weights.
void softmax_tokens(const ImageUpdate& u, int64_t n, Rows<float> scores) {
    const int64_t live = u.shape.heads * u.shape.slots();
    for (int64_t i = 0; i < n; ++i) {
        softmax_groups(live, u.shape.slots(), u.query_bias, scores[i]);
        std::fill(scores[i] + live, scores[i] + u.shape.columns(), 0.0F);
    }
}

// out = LayerNorm(keys + softmax_t(scores) values + bias)
void update_keys(const ImageUpdate& u, const Tile& tile, float* out) {
    const int64_t dim = u.shape.dim;
    const Rows<float> scores{tile.scores, u.shape.columns()};
    score(u.shape, u.side, nullptr, tile, scores);
    softmax_tokens(u, tile.n, scores);
    product(tile, tile.n, dim, scores.stride, scores, u.values, {tile.delta, dim});
    for (int64_t i = 0; i < tile.n; ++i) {
        residual_norm(dim, tile.delta + i * dim, u.bias, tile.keys + i * dim, u.gamma, u.beta,
                      u.eps, out + i * dim);
    }
}

// The same for keys that are known by their scale and weights.
void update_weights(const ImageUpdate& u, const UpdatedKeys& updated, const Tile& tile) {
    const Deviation& d = u.deviation;
    const int64_t n = tile.n, columns = u.shape.columns(), all = u.before + columns,
                  mapped = u.shape.heads * d.width;
    float* scale = updated.scale + tile.k;
    const Rows<float> weights = updated.weights.from_row(tile.k), sums{tile.delta, all};
    score(u.shape, u.side, &updated, tile, weights.from_column(u.before));
    softmax_tokens(u, n, weights.from_column(u.before));
    // sums[i] . weights[i] = 2 s w (B X) + w (B B^T) w
    for (std::size_t j = 0; j < d.values.size(); ++j) {
        const auto update = static_cast<int64_t>(j);
        multiply_blocks(u.shape, d.width, tile,
                        d.mapped.from_row(tile.k).from_column(update * mapped), d.values[j],
                        sums.from_column(update * columns));
    }
    if (u.before == 0) std::fill_n(scale, n, 1.0F);
    for (int64_t i = 0; i < n; ++i) scale_row(all, scale[i], sums[i]);
    for (int64_t from = 0; from < all; from += columns) {
        product(tile, n, columns, from + columns, weights, d.products.from_column(from),
                sums.from_column(from), /*accumulate=*/true);
    }
    for (int64_t i = 0; i < n; ++i) {
        float of_image = scale[i] * d.squares[tile.k + i];
        for (int64_t from = 0, j = 0; from < all; from += columns, ++j) {
            const float* first_head = weights[i] + from;
            of_image +=
                std::reduce(first_head, first_head + u.shape.slots()) * d.added[tile.k + i][j];
        }
        const float variance = dot(all, weights[i], sums[i]) + scale[i] * of_image;
        const float factor = 1.0F / std::sqrt(std::max(variance, 0.0F) + u.eps);
        scale[i] *= factor;
        scale_row(all, factor, weights[i]);
    }
}

// Adds the tile's weighted value rows to the partial sums of every column.
void read_tile(const TokenRead& r, const UpdatedKeys* updated, Precision precision,
               const Tile& tile, TokenPartial& partial, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const int64_t n = tile.n, columns = r.shape.columns(), width = r.width();
    const Rows<float> weights{tile.weights, kTile};
    score(r.shape, r.side, updated, tile, {tile.scores, columns});
    if (running_softmax_columns(n, columns, {tile.scores, columns}, partial.max, partial.sum,
                                tile.scale, weights)) {
        for (int64_t c = 0; c < columns; ++c) {
            if (tile.scale[c] != 1.0F) scale_row(width, tile.scale[c], partial.acc + c * width);
        }
    }
    if (r.values == nullptr) {
        const Factor values = make_factor(precision, n, width, tile.keys, width, arena);
        product(tile, columns, width, n, weights, values, {partial.acc, width},
                /*accumulate=*/true);
        return;
    }
    const int64_t all = r.shape.heads * r.side.width, across = r.shape.group_columns(),
                  part = width - r.side.weights;
    if (r.side.fixed != nullptr) {
        const Rows<float> given = updated->weights.from_row(tile.k);
        const Factor factor =
            make_factor(precision, n, r.side.weights, given.data, given.stride, arena);
        product(tile, columns, r.side.weights, n, weights, factor, {partial.acc + part, width},
                /*accumulate=*/true);
        for (int64_t c = 0; c < columns; ++c) multiply(n, updated->scale + tile.k, weights[c]);
    }
    const Factor values = make_factor(precision, n, all, r.values + tile.k * all, all, arena);
    for (int64_t g = 0; g < r.shape.groups(); ++g) {
        const int64_t first = g * part, count = std::min(part, all - first);
        product(tile, across, count, n, weights.from_row(g * across), values.from_column(first),
                {partial.acc + g * across * width, width}, /*accumulate=*/true);
    }
}

}  // namespace

void tiled(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const int64_t dim = s.read->shape.dim;
    int64_t columns = s.read->shape.columns(), widest = dim;
    if (s.update != nullptr) {
        columns = std::max(columns, s.update->shape.columns());
        widest = std::max(widest, s.update->before + s.update->shape.columns());
    }
    Streams streams(s);
    Tile tile{.k = begin,
              .n = kTile,
              .keys = nullptr,
              .placed = nullptr,
              .scores = arena.take<float>(kTile * columns),
              .projected = nullptr,
              .delta = arena.take<float>(kTile * widest),
              .weights = arena.take<float>(columns * kTile),
              .scale = arena.take<float>(columns),
              .streams = &streams};
    if (s.updated != nullptr)
        tile.projected = arena.take<float>(kTile * s.read->shape.heads * s.read->side.width);
    else tile.placed = arena.take<float>(kTile * dim);
    for (; tile.k < end; tile.k += kTile) {
        tile.n = std::min(kTile, end - tile.k);
        const int64_t after = tile.k + tile.n;
        streams.begin(tile.n, after, std::min(kTile, end - after));
        if (s.updated != nullptr) {
            if (s.update != nullptr) update_weights(*s.update, *s.updated, tile);
        } else {
            const int64_t first = tile.k * dim;
            tile.keys = s.keys_in + first;
            const auto place = [&] {
                add(tile.n * dim, tile.keys, s.position + first, tile.placed);
            };
            if (s.update != nullptr) {
                if (s.update->side.rows == nullptr) place();
                update_keys(*s.update, tile, s.keys_out + first);
                tile.keys = s.keys_out + first;
            }
            if (s.read->side.rows == nullptr) place();
        }
        read_tile(*s.read, s.updated, s.precision, tile, partial, arena);
    }
}

}  // namespace segrid::two_way
