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
    Factor keys;    // panels of kPanel keys, each [head_dim][kPanel]
    Factor values;  // [tokens, head_dim]
    static int64_t floats(int64_t tokens, int64_t head_dim) {
        return ((tokens + kPanel - 1) / kPanel * kPanel + tokens + 1) * (head_dim + 1);
    }
};
// Packs rows of k and v, `ld` floats apart, into memory of PackedHead::floats().
PackedHead pack_head(Precision precision, int64_t tokens, int64_t head_dim, const float* k,
                     const float* v, int64_t ld, float* memory, Arena& arena);

struct GridAttention {
    int64_t grid_h = 0, grid_w = 0, head_dim = 0;
    float scale = 1;
    const RelativePositions* positions = nullptr;  // null or !present(): no positions
    const float* bias = nullptr;  // [tokens, tokens], added to the scaled scores; may be null
    PackedHead head;
};

// Attention of the queries [first, first + rows) of the grid. Rows of q and out are `ldq` and `ldo`
// floats apart.
void grid_attention(const GridAttention& a, int64_t first, int64_t rows, const float* q,
                    int64_t ldq, float* out, int64_t ldo, Arena& arena);

}  // namespace segrid
