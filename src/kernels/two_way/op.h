// One sweep over image tokens in the two-way decoder (SAM, figure 14). It computes the
// image-to-token attention of one layer, with its residual and LayerNorm, and in the same pass the
// token-to-image attention of the next layer. Both are linear in the image side, so their
// projections are folded into small matrices on the token side:
//   score of key x for token t, head h
//     (Wk x + bk) . q_th  =  x . (Wk_h^T q_th) + const
//     (the constant cancels in the softmax over keys)
//   update of key x
//     Wo concat_h( sum_t p_th v_th ) + bo  =  sum_th p_th (Wo_h v_th) + bo
//   value that token t reads
//     sum_x p_x (Wv_h x + bv_h)  =  Wv_h (sum_x p_x x) + bv_h
// One pass over a tile of keys suffices because the queries of the next token-to-image attention do
// not depend on the sweep: tokens change only between sweeps. Its softmax over all keys is a
// running softmax.
//
// Once a sweep has updated the keys, nothing reads or writes them at their whole width. With
//     x' = (x + P V - mean) / sigma * gamma + beta
// a product of updated keys with any matrix M is, from one update to the next, of the form
//     x M  =  scale (x0 T M)  +  weights (B M)  +  beta M
// scale is a number for each key, weights are all updates' P over their sigmas, T comes from the
// model's weights alone and B from the tokens: x0 T M is a product for all prompts of an image, B M
// one of few rows. sigma comes from the same parts. If X = x0 T and the rows of B are centred,
//     variance * dim  =  |s X + w B|^2  =  s^2 |X|^2  +  2 s w (B X)  +  w (B B^T) w
// with the scale s before this update and the weights w, P among them. A row of B is a linear map
// of a token's values. So B X is a product of these values with mapped X, which is for all prompts
// of an image.
//
// Every [., columns] matrix keeps a head's tokens side by side: token t of head h is column h *
// slots + t. Slots beyond the tokens are padding that the softmax ignores. Slots and columns are
// chosen such that heads fill vectors of 16 floats without crossing them.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "core/arena.h"
#include "kernels/gemm/op.h"

namespace segrid {

struct TwoWayShape {
    int64_t dim = 0;  // width of a key
    int64_t heads = 0;
    int64_t tokens = 0;
    int64_t narrowest = 16;  // as narrowest() has it for the products
    int64_t slots() const {
        return tokens <= 16 ? static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(tokens)))
                            : (tokens + 15) / 16 * 16;
    }
    int64_t columns() const { return (heads * slots() + 15) / 16 * 16; }
    // Heads that share a product if the image side is already projected and each head reads its own
    // part of it.
    int64_t group() const { return slots() < narrowest ? narrowest / slots() : 1; }
    int64_t groups() const { return (heads + group() - 1) / group(); }
    int64_t group_columns() const { return group() * slots(); }
    // The rows of a group's block, if heads are `width` wide.
    int64_t block_depth(int64_t width) const { return (group() * width + 1) / 2 * 2; }
};

// The image side of the scores.
//   rows is null: the keys plus their positional encoding; queries is [dim, columns].
//   otherwise: rows are [keys, heads * width], projected once for all prompts. queries holds a
//   block of block_depth(width) rows and group_columns() columns for each group of heads. The block
//   is zero where a column's head does not own the row.
//   fixed is not null: the keys have been updated since. Their projections are scale * rows + fixed
//   (x0 T M, and what position and beta become), and `through` (B M) adds what their weights give.
struct ImageSide {
    const float* rows = nullptr;
    int64_t width = 0;  // per head
    Factor queries;
    const float* fixed = nullptr;  // [keys, heads * width]
    Factor through = {};           // [weights, columns]
    int64_t weights = 0;
};

// What updates have made of the keys so far (scale and weights above).
struct UpdatedKeys {
    float* scale = nullptr;  // [keys]
    Rows<float> weights;     // [keys, columns of all updates]
};

// What gives sigma (see above). What an update adds to every key counts to the values of its first
// head, because the weights of a head add up to 1 when they are new; w may have scaled them since.
struct Deviation {
    int64_t width = 0;               // of a head's values
    Rows<const float> mapped;        // [keys, updates * heads * width]: X, mapped for every update
    Rows<const float> added;         // [keys, updates]: X times what the update adds to every key
    const float* squares = nullptr;  // [keys]: |X|^2 / dim. `mapped` and `added` are times 2 / dim.
    std::span<const Factor> values;  // of every update, in blocks as ImageSide::queries
    // [weights, weights]: B B^T / dim, as an upper triangle to which the lower one has been added
    Factor products;
};

// Image-to-token attention: keys = LayerNorm(keys + softmax_t(scores + query_bias) values + bias).
// The keys are either updated themselves, or as UpdatedKeys.
struct ImageUpdate {
    TwoWayShape shape;
    ImageSide side;
    const float* query_bias = nullptr;  // [columns]; -infinity in a head's padding
    float eps = 0;
    // of keys themselves:
    Factor values = {};           // [columns, dim]; rows of the padding are zero
    const float* bias = nullptr;  // [dim]
    const float* gamma = nullptr;
    const float* beta = nullptr;
    // of UpdatedKeys:
    Deviation deviation = {};
    int64_t before = 0;  // the first column of its own in UpdatedKeys::weights
};

// Token-to-image attention: for each column the running softmax of the scores, and the weighted sum
// of value rows. The value rows are the (updated) keys without position, or `values` [keys, heads *
// side.width], of which a column reads the part of its group. If keys have been updated since, the
// sum is that of scale * values, followed by that of the keys' weights.
struct TokenRead {
    TwoWayShape shape;
    ImageSide side;
    const float* values = nullptr;
    // The width of the value rows that a column sums.
    int64_t width() const {
        return values != nullptr ? shape.group() * side.width + side.weights : shape.dim;
    }
};

// The state of a token-to-image attention over the keys seen so far. merge() joins the partials of
// disjoint ranges.
struct TokenPartial {
    float* max = nullptr;  // [columns]
    float* sum = nullptr;  // [columns]
    float* acc = nullptr;  // [columns, width]
    TokenPartial(const TokenRead& read, Arena& arena);
    TokenPartial() = default;
};
void merge(const TokenRead& read, TokenPartial& into, const TokenPartial& other);

struct TwoWaySweep {
    Precision precision = Precision::Fp32;
    // Neither read nor written if `updated` is set:
    const float* keys_in = nullptr;   // [keys, dim]
    float* keys_out = nullptr;        // receives the updated keys; may be keys_in
    const float* position = nullptr;  // [keys, dim]

    const ImageUpdate* update = nullptr;  // null: the keys do not change
    const TokenRead* read = nullptr;
    const UpdatedKeys* updated = nullptr;  // null: every product reads the keys themselves
};

// Sweeps over the keys [begin, end). Tiles begin at `begin`, so the same ranges give the same bits.
void two_way_sweep(const TwoWaySweep& sweep, int64_t begin, int64_t end, TokenPartial& partial,
                   Arena& arena);

}  // namespace segrid
