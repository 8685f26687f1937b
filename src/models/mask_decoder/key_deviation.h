// What the two-way decoder needs of an image to know how far an update's LayerNorm scales each
// image token (Deviation of kernels/two_way/op.h).
#pragma once

#include <vector>

#include "core/thread_pool.h"
#include "kernels/gemm/op.h"

namespace segrid::mask_decoder {

// What one image gives to the deviations of all prompts.
struct SharedDeviation {
    at::Tensor mapped;   // [keys, updates * inner]
    at::Tensor added;    // [keys, updates]
    at::Tensor squares;  // [keys]
    std::vector<at::Tensor> tensors() const { return {mapped, added, squares}; }
};

// The part of a deviation that one layer's update computes for an image.
class KeyDeviation {
public:
    // For this layer's update and each one before it, [inner + 1, dim]: the map from the values of
    // its heads to rows of B, and what it adds to every key, as rows of B. All rows are centred.
    explicit KeyDeviation(const std::vector<at::Tensor>& maps);
    // keys: x0 T before this update, [keys, dim].
    SharedDeviation share(const at::Tensor& keys, const Schedule& schedule) const;

private:
    PackedMatrix maps_;  // [updates * inner, dim]
    at::Tensor added_;   // [dim, updates]
};

}  // namespace segrid::mask_decoder
