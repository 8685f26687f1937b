// Self-attention over a grid of image tokens with decomposed relative positions (SAM's ViT,
// "Exploring plain vision transformer backbones", section "relative position"), one head at a time:
//   out[q] = softmax_k( scale q.k + q.Rh[qy - ky] + q.Rw[qx - kx] ) v
// Other families use a table of biases for every pair of tokens instead. The (tokens x tokens) bias
// of relative positions is never stored: q.R is one product per query tile, and the bias is added
// to a score tile row by row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/arena.h"
#include "kernels/gemm/op.h"

namespace segrid {

// The tables of one layer, reversed and side by side: [head_dim, rows + columns] with rows = 2
// grid_h - 1, columns = 2 grid_w - 1. Because they are reversed, the values of query q for
// ascending keys are a contiguous slice that starts at (grid - 1 - q).
class RelativePositions {
public:
    RelativePositions() = default;
    // rel_h, rel_w: (2 g - 1, head_dim) each, in fp32.
    RelativePositions(const at::Tensor& rel_h, const at::Tensor& rel_w);
    bool present() const { return packed_.defined(); }
    const float* data() const { return packed_.const_data_ptr<float>(); }
    int64_t width() const { return packed_.size(1); }

private:
    at::Tensor packed_;
};

// The keys and values of one head, packed for the products.
struct PackedHead {
    Factor keys;    // panels of kPanel keys, each [head_dim][kPanel] or in strips
    Factor values;  // [tokens, value_dim]
    // Whole cache lines, so that every head begins with one where several follow each other.
    static int64_t floats(int64_t tokens, int64_t head_dim) {
        const int64_t panels = (tokens + kPanel - 1) / kPanel;
        return ((panels * kPanel + tokens + 1) * (head_dim + 1) + 15) / 16 * 16;
    }
};
// Packs rows of k and v, `ld` floats apart, into memory of PackedHead::floats().
PackedHead pack_head(Precision precision, int64_t tokens, int64_t head_dim, const float* k,
                     const float* v, int64_t ld, float* memory, Arena& arena);

// The keys of several heads, packed panel by panel, so that several workers can do it at once.
class PackedKeys {
public:
    PackedKeys(Precision precision, int64_t tokens, int64_t heads, int64_t head_dim);
    // first: the first of these tokens; it begins a panel. k: their rows, each of all heads side by
    // side.
    void pack(int64_t first, int64_t tokens, Rows<const float> k, Arena& arena);
    Factor of_head(int64_t head) const;

private:
    Precision precision_;
    int64_t heads_, dim_, panels_;
    at::Tensor data_;
};

// Values, packed like that.
class PackedValues {
public:
    PackedValues() = default;
    // part: columns of a head; a multiple of it can be given to from_column.
    PackedValues(Precision precision, int64_t tokens, int64_t width, int64_t part);
    // first: the first of these tokens. Where it is odd, the token before it has been packed.
    void pack(int64_t first, int64_t tokens, Rows<const float> v);
    Factor from_column(int64_t column) const;

private:
    Factor all() const;

    Precision precision_ = Precision::Fp32;
    int64_t width_ = 0, strip_ = 0;  // columns of a strip; 0: rows are whole
    at::Tensor data_;
};

// Without positions and bias the keys need no grid, and queries may be others than the keys: then
// grid_h is the number of keys and grid_w is 1.
struct GridAttention {
    int64_t grid_h = 0, grid_w = 0, head_dim = 0;
    int64_t value_dim = 0;  // 0: head_dim
    float scale = 1;
    const RelativePositions* positions = nullptr;  // null or !present(): no positions
    const float* bias = nullptr;      // [tokens, tokens], added to the scaled scores; may be null
    const float* key_bias = nullptr;  // [tokens], added to every query's scores; may be null
    PackedHead head;
    int64_t width() const { return value_dim > 0 ? value_dim : head_dim; }  // of a value
};

// Attention of the queries [first, first + rows) of the grid. Rows of q and out are `ldq` and `ldo`
// floats apart; those of out hold width() floats.
void grid_attention(const GridAttention& a, int64_t first, int64_t rows, const float* q,
                    int64_t ldq, float* out, int64_t ldo, Arena& arena);

}  // namespace segrid
