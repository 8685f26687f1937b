#include "models/mask_decoder/cross_attention.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/mask_decoder/projection.h"

namespace segrid::mask_decoder {
namespace {

const char* out_name(bool sam2_names) { return sam2_names ? "o_proj" : "out_proj"; }

at::Tensor project(const Linear& layer, const at::Tensor& x, bool with_bias,
                   const Schedule& schedule) {
    return mask_decoder::project(layer.weight(), with_bias ? layer.bias() : nullptr, x, schedule);
}

// The weight of a Linear, row-major and not packed: [out, in], or [in, out] if transposed.
at::Tensor raw(const WeightScope& scope, int64_t in, int64_t out, bool transposed) {
    const at::Tensor w = scope.tensor("weight", {out, in});
    return (transposed ? w.t() : w).contiguous();
}

Rows<const float> rows_of(const at::Tensor& matrix) {
    return {matrix.const_data_ptr<float>(), matrix.stride(0)};
}

// folded[d, column(t, h)] = sum_j weight[h * width + j, d] * rows[t, h * width + j]. The token rows
// absorb the image-side weight. Returns [dim, columns].
float* fold_scores(const TwoWayShape& shape, int64_t inner, const at::Tensor& weight,
                   const float* rows, Arena& arena) {
    const int64_t width = inner / shape.heads, columns = shape.columns();
    float* folded = arena.take<float>(shape.dim * columns);
    float* by_column = arena.take<float>(columns * shape.dim);
    std::fill_n(by_column, columns * shape.dim, 0.0F);
    for (int64_t h = 0; h < shape.heads; ++h) {
        matmul(shape.tokens, shape.dim, width, {rows + h * width, inner},
               {weight.const_data_ptr<float>() + h * width * shape.dim, shape.dim},
               {by_column + h * shape.slots() * shape.dim, shape.dim});
    }
    transpose(columns, shape.dim, by_column, shape.dim, folded, columns);
    return folded;
}

// For an image side that is already projected: rows [tokens, inner] as a block for each group of
// heads, in which a column holds only its own head's part of the inner dimension.
Factor in_blocks(Precision precision, const TwoWayShape& shape, int64_t inner, const float* rows,
                 Arena& arena) {
    const int64_t width = inner / shape.heads, across = shape.group_columns();
    const int64_t depth = shape.block_depth(width), all = shape.groups() * depth;
    float* blocks = arena.take<float>(all * across);
    std::fill_n(blocks, all * across, 0.0F);
    for (int64_t h = 0; h < shape.heads; ++h) {
        const int64_t place = h % shape.group();
        float* block =
            blocks + (h / shape.group() * depth + place * width) * across + place * shape.slots();
        transpose(shape.tokens, width, rows + h * width, inner, block, across);
    }
    return make_factor(precision, all, across, blocks, across, arena);
}

// The image side of an attention whose token rows are `rows` and whose image-side weight is
// `weight`, [inner, dim].
ImageSide image_side(Precision precision, const TwoWayShape& shape, int64_t inner,
                     const at::Tensor& weight, const float* rows, const SharedSide* shared,
                     const Basis& basis, Arena& arena) {
    const int64_t columns = shape.columns();
    if (shared == nullptr) {
        const float* folded = fold_scores(shape, inner, weight, rows, arena);
        return {.queries =
                    make_reused_factor(precision, shape.dim, columns, folded, columns, arena)};
    }
    ImageSide side{.rows = shared->scores.const_data_ptr<float>(),
                   .width = inner / shape.heads,
                   .queries = in_blocks(precision, shape, inner, rows, arena)};
    if (!shared->fixed.scores.defined()) return side;
    const float* folded = fold_scores(shape, inner, weight, rows, arena);
    float* through = arena.take<float>(basis.count * columns);
    matmul(basis.count, columns, shape.dim, {basis.rows, shape.dim}, {folded, columns},
           {through, columns});
    side.fixed = shared->fixed.scores.const_data_ptr<float>();
    side.through = make_reused_factor(precision, basis.count, columns, through, columns, arena);
    side.weights = basis.count;
    return side;
}

// rows: [count, dim]. Returns their products with each other, by 1 / dim, as Deviation::products.
Factor products_of(int64_t count, int64_t dim, const float* rows, Arena& arena) {
    float* columns = arena.take<float>(dim * count);
    float* products = arena.take<float>(count * count);
    transpose(count, dim, rows, dim, columns, count);
    matmul(count, count, dim, {rows, dim}, {columns, count}, {products, count});
    const float once = 1.0F / static_cast<float>(dim);
    for (int64_t i = 0; i < count; ++i) {
        float* row = products + i * count;
        std::fill_n(row, i, 0.0F);
        row[i] *= once;
        scale_row(count - i - 1, 2 * once, row + i + 1);
    }
    return make_reused_factor(Precision::Fp32, count, count, products, count, arena);
}

// Extends the basis by an update with these values, [columns, dim], and this bias: the rows become
// those of B and values + bias + beta, centred, times gamma. The weights P of one head's tokens add
// up to 1, so what is the same for all keys is added to that head's values. A LayerNorm centres,
// and its deviation is multiplied back. Returns the products of the centred rows.
Factor extend(Basis& basis, const TwoWayShape& shape, const float* values, const float* bias,
              const LayerNorm& norm, Arena& arena) {
    const int64_t dim = shape.dim;
    float *zeros = arena.take<float>(dim), *ones = arena.take<float>(dim);
    std::fill_n(zeros, dim, 0.0F);
    std::fill_n(ones, dim, 1.0F);
    float* own = basis.rows + basis.count * dim;
    std::copy_n(values, shape.columns() * dim, own);
    for (int64_t t = 0; t < shape.tokens; ++t) {
        add(dim, own + t * dim, bias, own + t * dim);
        if (basis.beta != nullptr) add(dim, own + t * dim, basis.beta, own + t * dim);
    }
    basis.count += shape.columns();
    basis.beta = norm.beta();
    for (int64_t i = 0; i < basis.count; ++i) {
        float* row = basis.rows + i * dim;
        scale_row(dim, 1.0F / layer_norm(dim, row, ones, zeros, norm.eps(), row), row);
    }
    const Factor products = products_of(basis.count, dim, basis.rows, arena);
    for (int64_t i = 0; i < basis.count; ++i) multiply(dim, norm.gamma(), basis.rows + i * dim);
    return products;
}

}  // namespace

SelfAttention::SelfAttention(const WeightScope& s, int64_t dim, int64_t heads, bool sam2_names)
    : dim_(dim),
      heads_(heads),
      q_(s / "q_proj", dim, dim),
      k_(s / "k_proj", dim, dim),
      v_(s / "v_proj", dim, dim),
      out_(s / out_name(sam2_names), dim, dim) {}

void SelfAttention::operator()(int64_t tokens, const float* queries, const float* values,
                               float* out, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t width = dim_ / heads_;
    float* q = arena.take<float>(tokens * dim_);
    float* k = arena.take<float>(tokens * dim_);
    float* v = arena.take<float>(tokens * dim_);
    float* mixed = arena.take<float>(tokens * dim_);
    float* scores = arena.take<float>(tokens);
    q_(tokens, queries, dim_, q, dim_);
    k_(tokens, queries, dim_, k, dim_);
    v_(tokens, values, dim_, v, dim_);
    const float scale = 1.0F / std::sqrt(static_cast<float>(width));
    for (int64_t h = 0; h < heads_; ++h) {
        for (int64_t t = 0; t < tokens; ++t) {
            const float* a = q + t * dim_ + h * width;
            for (int64_t u = 0; u < tokens; ++u) {
                const float* b = k + u * dim_ + h * width;
                float dot = 0;
                for (int64_t i = 0; i < width; ++i) dot += a[i] * b[i];
                scores[u] = dot * scale;
            }
            softmax_groups(tokens, tokens, nullptr, scores);
            float* to = mixed + t * dim_ + h * width;
            std::fill_n(to, width, 0.0F);
            for (int64_t u = 0; u < tokens; ++u) {
                const float* from = v + u * dim_ + h * width;
                for (int64_t i = 0; i < width; ++i) to[i] += scores[u] * from[i];
            }
        }
    }
    out_(tokens, mixed, dim_, out, dim_);
}

TokenToImage::TokenToImage(const WeightScope& s, int64_t dim, int64_t downsample, bool sam2_names)
    : dim_(dim),
      inner_(dim / downsample),
      precision_(s.precision()),
      q_(s.in(Precision::Fp32) / "q_proj", dim, inner_),
      k_(s / "k_proj", dim, inner_),
      v_(s / "v_proj", dim, inner_),
      out_(s.in(Precision::Fp32) / out_name(sam2_names), inner_, dim),
      wk_(raw(s / "k_proj", dim, inner_, false)),
      wv_t_(raw(s / "v_proj", dim, inner_, true)) {}

FixedSide TokenToImage::fix(const at::Tensor& placed, const at::Tensor& beta,
                            const Schedule& schedule) const {
    return {.scores = project(k_, placed, true, schedule),
            .values = project(v_, beta.view({1, dim_}), true, schedule)};
}

SharedSide TokenToImage::share(const KeysOfImage& image, const FixedSide& fixed,
                               const Schedule& schedule) const {
    const bool updated = !image.placed.defined();
    return {.scores = project(k_, updated ? image.keys : image.placed, !updated, schedule),
            .values = project(v_, image.keys, !updated, schedule),
            .fixed = fixed};
}

TokenRead TokenToImage::fold(TwoWayShape shape, const float* queries, const SharedSide* shared,
                             const Basis& basis, Arena& arena) const {
    shape.narrowest = narrowest(precision_);
    float* q = arena.take<float>(shape.tokens * inner_);
    q_(shape.tokens, queries, dim_, q, inner_);
    scale_row(shape.tokens * inner_, 1.0F / std::sqrt(static_cast<float>(inner_ / shape.heads)), q);
    return {.shape = shape,
            .side = image_side(precision_, shape, inner_, wk_, q, shared, basis, arena),
            .values = shared != nullptr ? shared->values.const_data_ptr<float>() : nullptr};
}

void TokenToImage::finish(const TokenRead& read, const TokenPartial& partial,
                          const SharedSide* shared, const Basis& basis, float* out,
                          Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const TwoWayShape& shape = read.shape;
    const int64_t width = inner_ / shape.heads, seen = read.width();
    float* mixed = arena.take<float>(shape.tokens * inner_);
    const int64_t part = seen - read.side.weights;  // of values
    for (int64_t h = 0; h < shape.heads; ++h) {
        float* acc = partial.acc + h * shape.slots() * seen;
        for (int64_t t = 0; t < shape.tokens; ++t)
            scale_row(seen, 1.0F / partial.sum[h * shape.slots() + t], acc + t * seen);
        if (read.values != nullptr) {  // projected: take each head's own part
            for (int64_t t = 0; t < shape.tokens; ++t) {
                std::copy_n(acc + t * seen + h % shape.group() * width, width,
                            mixed + t * inner_ + h * width);
            }
        }
    }
    // What is not projected yet: the sums of keys, or those of the basis.
    Rows<const float> sums{partial.acc, seen};
    if (read.side.weights > 0) {
        const int64_t columns = shape.columns();
        float* keys = arena.take<float>(columns * dim_);
        matmul(columns, dim_, read.side.weights, sums.from_column(part), {basis.rows, dim_},
               {keys, dim_});
        sums = {keys, dim_};
    }
    for (int64_t h = 0; h < shape.heads && (read.values == nullptr || read.side.weights > 0); ++h) {
        matmul(shape.tokens, width, dim_, sums.from_row(h * shape.slots()),
               {wv_t_.const_data_ptr<float>() + h * width, inner_}, {mixed + h * width, inner_},
               /*accumulate=*/read.values != nullptr);
    }
    const float* bias = v_.bias();
    if (read.values != nullptr) {  // layer 1's projections have it already
        const at::Tensor& fixed = shared->fixed.values;
        bias = fixed.defined() ? fixed.const_data_ptr<float>() : nullptr;
    }
    for (int64_t t = 0; t < shape.tokens && bias != nullptr; ++t)
        add(inner_, mixed + t * inner_, bias, mixed + t * inner_);
    out_.add_to(shape.tokens, mixed, inner_, out, dim_);
}

ImageToToken::ImageToToken(const WeightScope& s, int64_t dim, int64_t downsample, bool sam2_names)
    : dim_(dim),
      inner_(dim / downsample),
      precision_(s.precision()),
      q_(s / "q_proj", dim, inner_),
      k_(s / "k_proj", dim, inner_),
      v_(s / "v_proj", dim, inner_),
      wq_(raw(s / "q_proj", dim, inner_, false)),
      wo_t_(raw(s / out_name(sam2_names), inner_, dim, true)),
      bo_((s / out_name(sam2_names)).tensor("bias", {dim})) {}

FixedSide ImageToToken::fix(const at::Tensor& placed, const Schedule& schedule) const {
    return {.scores = project(q_, placed, true, schedule)};
}

SharedSide ImageToToken::share(const KeysOfImage& image, const FixedSide& fixed,
                               const Schedule& schedule) const {
    const bool updated = !image.placed.defined();
    return {.scores = project(q_, updated ? image.keys : image.placed, !updated, schedule),
            .fixed = fixed};
}

ImageUpdate ImageToToken::fold(TwoWayShape shape, const float* keys, const float* values,
                               const SharedSide* shared, const LayerNorm& norm, Basis& basis,
                               Arena& arena) const {
    shape.narrowest = narrowest(precision_);
    const int64_t width = inner_ / shape.heads, columns = shape.columns();
    float* k = arena.take<float>(shape.tokens * inner_);
    float* v = arena.take<float>(shape.tokens * inner_);
    k_(shape.tokens, keys, dim_, k, inner_);
    v_(shape.tokens, values, dim_, v, inner_);
    scale_row(shape.tokens * inner_, 1.0F / std::sqrt(static_cast<float>(width)), k);
    float* folded_values = arena.take<float>(columns * dim_);
    std::fill_n(folded_values, columns * dim_, 0.0F);
    for (int64_t h = 0; h < shape.heads; ++h) {
        matmul(shape.tokens, dim_, width, {v + h * width, inner_},
               {wo_t_.const_data_ptr<float>() + h * width * dim_, dim_},
               {folded_values + h * shape.slots() * dim_, dim_});
    }
    float* query_bias = arena.take<float>(columns);
    for (int64_t c = 0; c < columns; ++c) {
        query_bias[c] =
            c % shape.slots() < shape.tokens ? 0.0F : -std::numeric_limits<float>::infinity();
    }
    ImageUpdate update{.shape = shape,
                       .side = image_side(precision_, shape, inner_, wq_, k, shared, basis, arena),
                       .query_bias = query_bias,
                       .eps = norm.eps()};
    if (basis.rows != nullptr) {
        const SharedDeviation& of_image = shared->deviation;
        update.before = basis.count;
        basis.values.push_back(in_blocks(precision_, shape, inner_, v, arena));
        update.deviation = {.width = width,
                            .mapped = rows_of(of_image.mapped),
                            .added = rows_of(of_image.added),
                            .squares = of_image.squares.const_data_ptr<float>(),
                            .values = basis.values,
                            .products = extend(basis, shape, folded_values,
                                               bo_.const_data_ptr<float>(), norm, arena)};
    } else {
        update.values = make_reused_factor(precision_, columns, dim_, folded_values, dim_, arena);
        update.bias = bo_.const_data_ptr<float>();
        update.gamma = norm.gamma();
        update.beta = norm.beta();
    }
    if (shared != nullptr) return update;
    // The query bias does not cancel, because the softmax is over tokens.
    for (int64_t t = 0; t < shape.tokens; ++t) {
        for (int64_t i = 0; i < inner_; ++i)
            query_bias[i / width * shape.slots() + t] += q_.bias()[i] * k[t * inner_ + i];
    }
    return update;
}

}  // namespace segrid::mask_decoder
