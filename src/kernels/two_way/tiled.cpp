// Tiles of 64 keys, which stay in the second-level cache during the whole sweep.
#include <algorithm>
#include <array>
#include <span>

#include "kernels/rows/op.h"
#include "kernels/two_way/implementations.h"

namespace segrid::two_way {
namespace {

constexpr int64_t kTile = 64;

// What a sweep with an update reads of the keys [k, k + n). A tile's longest product asks for that
// of the next tile, so that memory works while it computes.
class Streams {
public:
    Streams(const TwoWaySweep& s, int64_t k, int64_t n) : k_(k), n_(n) {
        if (n <= 0) return;
        const TwoWayShape& shape = s.read->shape;
        add(s.keys_in, shape.dim);
        if (s.updated != nullptr) add(s.updated->weights.data, s.updated->weights.stride);
        for (const ImageSide* side : {&s.update->side, &s.read->side}) {
            add(side->rows, shape.heads * side->width);
            add(side->fixed, shape.heads * side->width);
        }
        add(s.read->values, shape.heads * s.read->side.width);
    }
    std::span<const ReadNext> all() const { return {regions_.data(), count_}; }

private:
    void add(const float* rows, int64_t width) {
        if (rows != nullptr) regions_[count_++] = {rows + k_ * width, n_ * width * 4};
    }

    int64_t k_, n_;
    std::array<ReadNext, 7> regions_;
    std::size_t count_ = 0;
};

// Keys [k, k + n) of a sweep, and memory for what is made of them.
struct Tile {
    int64_t k, n;
    const float* keys;       // [n, dim]
    float* placed;           // [n, dim]: keys plus position
    float* scores;           // [n, columns]
    float* projected;        // [n, heads * width]: projections of updated keys
    float* delta;            // [n, dim]: what an update adds to the keys
    float *weights, *scale;  // [columns, kTile], [columns]: see running_softmax_columns
};

void score(const TwoWayShape& shape, const ImageSide& side, const UpdatedKeys* updated,
           const Tile& tile) {
    const int64_t n = tile.n, columns = shape.columns();
    if (side.rows == nullptr) {
        matmul(n, columns, shape.dim, {tile.placed, shape.dim}, side.queries,
               {tile.scores, columns});
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
    for (int64_t g = 0; g < shape.groups(); ++g) {
        const int64_t first = g * shape.group() * side.width,
                      depth = std::min(shape.group() * side.width, all - first);
        matmul(n, shape.group_columns(), depth, {rows + first, all},
               side.queries.from_row(g * side.depth(shape)),
               {tile.scores + g * shape.group_columns(), columns});
    }
    if (side.fixed != nullptr) {
        matmul(n, columns, side.weights, updated->weights.from_row(tile.k), side.through,
               {tile.scores, columns}, /*accumulate=*/true);
    }
}

// out = LayerNorm(keys + softmax_t(scores) values + bias)
void update_tile(const ImageUpdate& u, const UpdatedKeys* updated, const Tile& tile, float* out,
                 std::span<const ReadNext> next) {
    const int64_t dim = u.shape.dim, live = u.shape.heads * u.shape.slots();
    const Rows<float> scores{tile.scores, u.shape.columns()};
    for (int64_t i = 0; i < tile.n; ++i) {
        softmax_groups(live, u.shape.slots(), u.query_bias, scores[i]);
        std::fill(scores[i] + live, scores[i + 1], 0.0F);
    }
    matmul(tile.n, dim, scores.stride, scores, u.values, {tile.delta, dim}, /*accumulate=*/false,
           next);
    for (int64_t i = 0; i < tile.n; ++i) {
        const float factor = residual_norm(dim, tile.delta + i * dim, u.bias, tile.keys + i * dim,
                                           u.gamma, u.beta, u.eps, out + i * dim);
        if (updated == nullptr) continue;
        float* scale = updated->scale + tile.k + i;
        *scale = u.before > 0 ? *scale * factor : factor;
        float* weights = updated->weights[tile.k + i];
        std::copy_n(scores[i], scores.stride, weights + u.before);
        scale_row(u.before + scores.stride, factor, weights);
    }
}

// Adds the tile's weighted value rows to the partial sums of every column.
void read_tile(const TokenRead& r, const UpdatedKeys* updated, Precision precision,
               const Tile& tile, TokenPartial& partial, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const int64_t n = tile.n, columns = r.shape.columns(), width = r.width();
    const Rows<float> weights{tile.weights, kTile};
    if (running_softmax_columns(n, columns, {tile.scores, columns}, partial.max, partial.sum,
                                tile.scale, weights)) {
        for (int64_t c = 0; c < columns; ++c) {
            if (tile.scale[c] != 1.0F) scale_row(width, tile.scale[c], partial.acc + c * width);
        }
    }
    if (r.values == nullptr) {
        const Factor values = make_factor(precision, n, width, tile.keys, width, arena);
        matmul(columns, width, n, weights, values, {partial.acc, width}, /*accumulate=*/true);
        return;
    }
    const int64_t all = r.shape.heads * r.side.width, across = r.shape.group_columns(),
                  part = width - r.side.weights;
    if (r.side.fixed != nullptr) {
        const Rows<float> given = updated->weights.from_row(tile.k);
        const Factor factor =
            make_factor(precision, n, r.side.weights, given.data, given.stride, arena);
        matmul(columns, r.side.weights, n, weights, factor, {partial.acc + part, width},
               /*accumulate=*/true);
        for (int64_t c = 0; c < columns; ++c) multiply(n, updated->scale + tile.k, weights[c]);
    }
    const Factor values = make_factor(precision, n, all, r.values + tile.k * all, all, arena);
    for (int64_t g = 0; g < r.shape.groups(); ++g) {
        const int64_t first = g * part, count = std::min(part, all - first);
        matmul(across, count, n, weights.from_row(g * across), values.from_column(first),
               {partial.acc + g * across * width, width}, /*accumulate=*/true);
    }
}

}  // namespace

void tiled(const TwoWaySweep& s, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena) {
    const Arena::Lifetime scope(arena);
    const int64_t dim = s.read->shape.dim;
    const int64_t columns =
        std::max(s.read->shape.columns(), s.update != nullptr ? s.update->shape.columns() : 0);
    Tile tile{.k = begin,
              .n = kTile,
              .keys = nullptr,
              .placed = arena.take<float>(kTile * dim),
              .scores = arena.take<float>(kTile * columns),
              .projected = nullptr,
              .delta = arena.take<float>(kTile * dim),
              .weights = arena.take<float>(columns * kTile),
              .scale = arena.take<float>(columns)};
    if (s.updated != nullptr)
        tile.projected = arena.take<float>(kTile * s.read->shape.heads * s.read->side.width);
    for (; tile.k < end; tile.k += kTile) {
        const int64_t first = tile.k * dim;
        tile.n = std::min(kTile, end - tile.k);
        tile.keys = s.keys_in + first;
        const auto place = [&] { add(tile.n * dim, tile.keys, s.position + first, tile.placed); };
        if (s.update != nullptr) {
            if (s.update->side.rows == nullptr) place();
            score(s.update->shape, s.update->side, s.updated, tile);
            float* out = s.keys_out != nullptr ? s.keys_out + first : tile.delta;
            const int64_t after = tile.k + tile.n;
            const Streams next(s, after, std::min(kTile, end - after));
            update_tile(*s.update, s.updated, tile, out, next.all());
            tile.keys = out;
        }
        if (s.read->side.rows == nullptr) place();
        score(s.read->shape, s.read->side, s.updated, tile);
        read_tile(*s.read, s.updated, s.precision, tile, partial, arena);
    }
}

}  // namespace segrid::two_way
