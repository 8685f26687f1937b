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
    struct Head {
        // W^T with b as its last row: the pairs of channels that turn by the column, and those that
        // turn by the row, as conjugate complex numbers. Each [width + 1, head_dim / 2]: the real
        // parts, then the imaginary ones.
        at::Tensor across, down;
        at::Tensor whole;  // W, b of all channels: [head_dim, width + 1]
    };
    class Reading;
    void attend(const Head& head, const MemoryTokens& memory, int64_t rows, Rows<const float> q,
                Rows<float> out, Arena& arena) const;
    // Folds the keys' projection into one query, for all places along one side of the grid:
    // [width + 1, grid]. real, imaginary: its pairs that turn along this side, turned back to the
    // middle of the grid.
    void fold(const at::Tensor& weight, const float* real, const float* imaginary, float* folded,
              Arena& arena) const;
    // The same of several queries q, which it turns back to the middle of the grid. across, down:
    // as in PlaceQueries, for all columns and, row after row, for all rows of the grid.
    void fold(const Head& head, int64_t rows, float* q, float* across, float* down,
              Arena& arena) const;
    void read_pointers(const Head& head, const MemoryTokens& memory, int64_t rows, const float* q,
                       Reading& reading, Arena& arena) const;

    int64_t grid_ = 0, dim_ = 0, width_ = 0;  // dim_: of a head
    int64_t columns_ = 0;                     // of the grid, that are attended to together
    std::vector<Head> heads_;
    // The cosines and sines of the angles from the middle of the grid to the places of its second
    // half, [head_dim / 4, grid / 2], and of the angles of all pairs at the middle, turned
    // backwards, [head_dim / 2].
    at::Tensor cos_, sin_, cos_middle_, sin_middle_;
};

}  // namespace segrid::sam2
