// What the large matrix products run in. Everything between them is fp32.
#pragma once

namespace segrid {

enum class Precision {
    Fp32,
    Bf16,
    Int8,       // u8 activations (scale and zero per row), s8 weights (scale per output)
    Int8Torch,  // LibTorch's dynamic quantisation, to compare with
};

// A model's: most products, and those of the Linear layers in the blocks of its encoder, which
// alone may be quantised.
struct Precisions {
    Precision products = Precision::Fp32;
    Precision encoder_linears = Precision::Fp32;
};

}  // namespace segrid
