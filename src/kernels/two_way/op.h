// One sweep over image tokens in the two-way decoder (SAM, figure 14): the image-to-token attention of one layer with its residual and LayerNorm, and
// in the same pass the token-to-image attention of the next one. Both are linear in the image side, so their projections are folded into
// small matrices on the token side:
//   score of key x for token t, head h:   (Wk x + bk) . q_th  =  x . (Wk_h^T q_th) + const      (the constant cancels in the softmax over keys)
//   update of key x:                      Wo concat_h( sum_t p_th v_th ) + bo  =  sum_th p_th (Wo_h v_th) + bo
//   what token t reads:                   sum_x p_x (Wv_h x + bv_h)  =  Wv_h (sum_x p_x x) + bv_h
// The queries of the next token-to-image attention do not depend on the sweep (tokens change only between sweeps), which is why one
// pass over a tile of keys suffices; its softmax over all keys is a running one.
//
// Column t * heads + h of every [., columns] matrix belongs to token t and head h; columns is padded to a multiple of 16 with zeros.
#pragma once

#include <cstdint>

#include "core/arena.h"

namespace segrid {

struct TwoWayShape {
    int64_t dim = 0;    // width of a key
    int64_t heads = 0;
    int64_t tokens = 0;
    int64_t columns() const { return (heads * tokens + 15) / 16 * 16; }
};

// Where the scores come from: rows [keys, width] that all prompts share (their projections were done once per image), or, where `rows` is
// null, the keys themselves plus their positional encoding (width = dim).
struct ImageSide {
    const float* rows = nullptr;
    int64_t width = 0;
};

// Image-to-token attention: keys = LayerNorm(keys + softmax_t(side . queries + query_bias) values + bias)
struct ImageUpdate {
    ImageSide side;
    const float* queries = nullptr;     // [width, columns]
    const float* query_bias = nullptr;  // [columns]
    const float* values = nullptr;      // [columns, dim]; rows of the padding are zero
    const float* bias = nullptr;        // [dim]
    const float* gamma = nullptr;
    const float* beta = nullptr;
    float eps = 0;
};

// Token-to-image attention: per column the running softmax of side . queries, and its sum over the value rows.
struct TokenRead {
    ImageSide side;
    const float* queries = nullptr;  // [width, columns]
    ImageSide values;                // rows null: the (updated) keys, without position
};

// What a token-to-image attention has seen so far. Partials of disjoint ranges are joined with merge().
struct TokenPartial {
    float* max = nullptr;  // [columns]
    float* sum = nullptr;  // [columns]
    float* acc = nullptr;  // [columns, value width]
    void reset(int64_t columns, int64_t width);
};
void merge(int64_t columns, int64_t width, TokenPartial& into, const TokenPartial& other);

struct TwoWaySweep {
    TwoWayShape shape;
    const float* keys_in = nullptr;   // [keys, dim]
    float* keys_out = nullptr;        // where updated keys go; may be keys_in
    const float* position = nullptr;  // [keys, dim]
    const ImageUpdate* update = nullptr;  // null: keys stay
    const TokenRead* read = nullptr;      // null: nothing is read
};

// Keys [begin, end). Tiles begin at `begin`, so results have the same bits for the same ranges.
void two_way_sweep(const TwoWaySweep& sweep, int64_t begin, int64_t end, TokenPartial& partial, Arena& arena);

}  // namespace segrid
