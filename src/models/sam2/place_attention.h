// Attention in fp32 to a memory whose keys are neither projected nor turned: the queries are, once
// for every row and column of the grid (kernels/place_scores has the algebra).
#pragma once

#include <vector>

#include "models/sam2/memory_tokens.h"

namespace segrid::sam2 {

class PlaceAttention {
public:
    PlaceAttention() = default;
    // weight: [heads x head_dim, channels] and bias of the keys' projection, in which a head's even
    // channels come before its odd ones. grid: of the memory; theta, pooling: of its rotary
    // positions. columns: of the grid that are attended to together; 0: what suits the caches.
    PlaceAttention(const at::Tensor& weight, const at::Tensor& bias, int64_t heads, int64_t grid,
                   double theta, int64_t pooling, int64_t columns = 0);
    // Whether this is less work than to project and turn the keys of so many frames.
    static bool pays(int64_t grid, int64_t frames) { return grid % 16 == 0 && frames >= 3; }
    // Rows of q: heads side by side, turned by their own places. Rows of out: for each head the
    // mean of the memory's values, [channels].
    void operator()(const MemoryTokens& memory, int64_t rows, const float* q, float* out,
                    Arena& arena) const;

private:
    // What queries become for the places of a grid.
    struct Head {
        at::Tensor
            across;        // W^T of the channels that turn by the column, and b: [width + 1, pairs]
        at::Tensor down;   // of those that turn by the row: [pairs, width + 1]
        at::Tensor whole;  // of all: [head_dim, width + 1]
    };
    void attend(const Head& head, const MemoryTokens& memory, int64_t rows, Rows<const float> q,
                Rows<float> out, Arena& arena) const;
    // For the columns of the grid from the first one of a part on, and for all rows.
    void fold_across(const Head& head, int64_t part, const float* q, float* across,
                     Arena& arena) const;
    void fold_down(const Head& head, int64_t rows, const float* q, float* down, Arena& arena) const;

    int64_t grid_ = 0, dim_ = 0, width_ = 0;  // dim_: of a head
    int64_t columns_ = 0;                     // of the grid, that are attended to together
    std::vector<Head> heads_;
    // The cosines and sines of the angles that turn backwards: [parts, pairs / 2, columns] and, by
    // rows of the grid, [grid, pairs / 2]. Half of the pairs of channels turn by the column.
    at::Tensor cos_, sin_, cos_rows_, sin_rows_;
};

}  // namespace segrid::sam2
