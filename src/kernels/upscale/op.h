// From image tokens to mask logits in SAM's decoder: two transposed convolutions of stride 2 (each
// one a product, because their windows do not overlap), LayerNorm and GELU between them, and the
// product with the hypernetworks' outputs. Works image row by image row; the upscaled embedding is
// never stored.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "kernels/gemm/op.h"

namespace segrid {

struct UpscaleWeights {
    PackedMatrix first;      // [4 c1, dim]: rows (dy, dx, channel)
    PackedMatrix exact;      // the same in fp32
    at::Tensor first_bias;   // [4 c1]
    at::Tensor gamma, beta;  // LayerNorm over c1
    float eps = 1e-6F;
    PackedMatrix second;     // [4 c2, c1]
    at::Tensor second_bias;  // [4 c2]
    int64_t c1 = 0, c2 = 0;

    UpscaleWeights() = default;
    // Weights as torch.nn.ConvTranspose2d keeps them: (in, out, 2, 2). The second convolution, a
    // sixth of the decoder's products, stays in fp32: rounding it to bf16 would move more pixels at
    // the edges of masks than rounding any other product.
    UpscaleWeights(const at::Tensor& w1, const at::Tensor& b1, at::Tensor gamma, at::Tensor beta,
                   const at::Tensor& w2, const at::Tensor& b2, float eps, Precision precision);
};

// High-resolution features that SAM 2 adds after each of the two convolutions, in the order in
// which a token's pixels are computed. Each image token has 4 rows (dy, dx) of c1 floats, and 16
// rows (dy, dx of the first convolution, then of the second) of c2 floats.
struct UpscaleFeatures {
    const float* first = nullptr;   // [tokens][4][c1]
    const float* second = nullptr;  // [tokens][16][c2]
};
// Reorders pixels, given row by row at twice (levels 1) or four times (levels 2) the grid's size,
// into that order. levels is the number of convolutions before them.
at::Tensor in_upscale_order(const at::Tensor& pixels, int64_t grid_h, int64_t grid_w,
                            int64_t levels);

// The first convolution of image tokens that are known through their weights (UpdatedKeys of
// kernels/two_way/op.h): scale * rows + weights * basis + bias.
struct FirstOfUpdated {
    const float* rows = nullptr;   // [tokens, 4 c1]; null: the tokens themselves are given
    const float* bias = nullptr;   // [4 c1]
    const float* scale = nullptr;  // [tokens]
    Rows<const float> weights;     // [tokens, depth]
    Factor basis;                  // [depth, 4 c1]
    int64_t depth = 0;
};

// The columns of a factor for so many masks.
int64_t hyper_columns(int64_t masks);

struct UpscaleInput {
    Rows<const float> keys;  // the image tokens, row by row of the grid
    FirstOfUpdated first{};  // used instead of them if set
    int64_t grid_w = 0;
    const UpscaleFeatures* features = nullptr;  // null for SAM
    // [c2, hyper_columns(masks)], one column a mask, zero-padded
    const float* hyper = nullptr;
    int64_t masks = 0;  // <= 16
};

// Image rows [first, last) of the grid. logits: a row per mask, [4 grid_h][4 grid_w].
void upscale_masks(const UpscaleWeights& w, const UpscaleInput& input, int64_t first, int64_t last,
                   Rows<float> logits, Arena& arena);

}  // namespace segrid
