// The precision of the large matrix products. Everything between them is fp32.
#pragma once

#include <cstddef>

namespace segrid {

enum class Precision {
    Fp32,
    Bf16,
    Int8,       // u8 activations (scale and zero per row), s8 weights (scale per output)
    Int8Torch,  // LibTorch's dynamic quantisation, for comparison
};
inline constexpr std::size_t kPrecisions = 4;

// The precisions of one model: of most products, and of the Linear layers in its encoder's blocks.
// Only the latter may be quantised.
struct Precisions {
    Precision products = Precision::Fp32;
    Precision encoder_linears = Precision::Fp32;
};

}  // namespace segrid
