// What an object's memory attention attends to, in the order and the layout that it reads.
#pragma once

#include <vector>

#include "kernels/attention/op.h"
#include "kernels/place_scores/op.h"
#include "models/sam2/memory_parts.h"

namespace segrid::sam2 {

// Tokens of frames, which lie on grids, then of object pointers, which have no place.
struct MemoryTokens {
    int64_t tokens = 0, frames = 0, pointers = 0;
    // Whether tokens of frames are in the order of PlaceKeys, row by row of the grid, or frame
    // after frame.
    bool by_place = false;
    // What keys are made of: features and positions, [tokens, memory channels]. If by_place, every
    // group of places is transposed, as place_scores reads it.
    at::Tensor keys;
    PackedValues values;     // the features alone
    float pointer_bias = 0;  // added to the scores of pointers
    // The same as one number per token, 0 for those of frames, [tokens]; undefined if pointer_bias
    // is 0, or by_place.
    at::Tensor biases;

    int64_t on_grids() const { return tokens - pointers; }
    const float* pointer_keys() const {
        return keys.const_data_ptr<float>() + on_grids() * keys.size(1);
    }
};

// The order of tokens, and the precision of the products that read the values.
struct TokenOrder {
    bool by_place = false;
    Precision precision = Precision::Fp32;
};

// grid: tokens of a frame along a side.
MemoryTokens memory_tokens(const MemoryParts& parts, int64_t grid, const TokenOrder& order,
                           const std::vector<RememberedFrame>& frames,
                           const std::vector<RememberedPointer>& pointers,
                           const Schedule& schedule);

}  // namespace segrid::sam2
